"""What a user's statement reads from: the views, and functions that make rows of their own. Nothing else, so that the
lake's files are read as a snapshot's alone, which were checked before.

DuckDB's parser says what a statement names: tables, of which one with a slash would be a file, and table functions.
"""

from __future__ import annotations

from typing import Final, cast

import duckdb
import msgspec

from livespan.proto.errors import InvalidInput

__all__ = ["check_sources"]

_FUNCTIONS: Final = frozenset({"generate_series", "json_each", "json_tree", "range", "repeat", "unnest"})
_CATALOG: Final = "duckdb_"
_HINT: Final = "SQL reads the views; range, generate_series, unnest, repeat, json_each and json_tree make rows beside."


def check_sources(connection: duckdb.DuckDBPyConnection, select: str) -> None:
    """Return if a SELECT, which parses, names nothing but tables and functions that read no file.

    Raises:
        InvalidInput: it names something else.
    """
    rows = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [select]).fetchall()
    stack: list[object] = [msgspec.json.decode(str(rows[0][0]))]
    if cast("dict[str, object]", stack[0]).get("error"):
        raise InvalidInput("it cannot be seen what the statement reads", subject="sql", hint=_HINT)
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            node = cast("dict[str, object]", part)
            _check(node)
            stack += node.values()
        elif isinstance(part, list):
            stack += cast("list[object]", part)


def _check(node: dict[str, object]) -> None:
    if node.get("type") == "TABLE_FUNCTION":
        function = cast("dict[str, object]", node["function"])
        name = str(function.get("function_name"))
        if name not in _FUNCTIONS and not name.startswith(_CATALOG):
            raise InvalidInput(f"the function {name} may not be read from", subject="sql", hint=_HINT)
    elif node.get("type") == "BASE_TABLE" and "/" in str(node.get("table_name")):
        raise InvalidInput(f"no file may be read: {node['table_name']}", subject="sql", hint=_HINT)

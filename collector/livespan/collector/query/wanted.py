"""Which runs a user's statement is about, where it can be seen: a snapshot of those alone is then enough for it.

    SELECT ... FROM nodes WHERE run_id = 'order-17' AND ...     order-17
    SELECT ... FROM runs WHERE run_id IN ('a', 'b') ...         a, b
    anything else: joins, subqueries, CTEs, OR, EXPLAIN ...     all

Every view shows of a run what the rows of that run id say, whatever else there is, so that what such a statement
answers is the same. DuckDB's parser says how a statement is built; what is not surely of this form is about all runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

import duckdb
import msgspec

from livespan.collector.query.exchange import Wanted

__all__ = ["wanted"]

_VIEWS: Final = frozenset({"records", "nodes", "runs", "effects", "llm_calls", "checkpoints", "content"})
_COLUMN: Final = "run_id"
_WITH_CONTENT: Final = (b"content", b"checkpoints")
"""The views that read large values."""


class _Literal(msgspec.Struct, frozen=True):
    kind: str
    text: str = ""


class _Part(msgspec.Struct, frozen=True, rename={"of": "class"}):
    """An expression; what a kind of expression lacks is empty."""

    of: str = ""
    type: str = ""
    left: _Part | None = None
    right: _Part | None = None
    children: list[_Part] = []
    column_names: list[str] = []
    literal: _Literal | None = None


class _Source(msgspec.Struct, frozen=True):
    type: str
    alias: str = ""
    sample: object = None
    schema_name: str = ""
    catalog_name: str = ""
    table_name: str = ""
    column_name_alias: list[str] = []
    at_clause: object = None


class _Select(msgspec.Struct, frozen=True):
    type: str
    from_table: _Source | None = None
    where_clause: _Part | None = None


class _Statement(msgspec.Struct, frozen=True):
    node: _Select


class _Parsed(msgspec.Struct, frozen=True):
    error: bool
    statements: list[_Statement] = []


def wanted(connection: duckdb.DuckDBPyConnection, sql: str) -> Wanted:
    """Return what a statement, which parses, is about."""
    [(text,)] = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [sql]).fetchall()
    tree = str(text).encode()
    # By the text: a name that stands there in another part costs a look at files, a name that is missed a wrong value.
    lowered = tree.lower()
    return Wanted(_wanted_runs(tree), any(name in lowered for name in _WITH_CONTENT) or b'"error":false' not in lowered)


def _wanted_runs(tree: bytes) -> list[str] | None:
    """Return the run ids that a statement is about; None: all of them."""
    try:
        parsed = msgspec.json.decode(tree, type=_Parsed)
    except msgspec.DecodeError:
        return None  # of a form that is not known here
    if parsed.error or len(parsed.statements) != 1 or _has_another_query(msgspec.json.decode(tree)):
        return None
    select = parsed.statements[0].node
    source = select.from_table
    if select.type != "SELECT_NODE" or select.where_clause is None or source is None or not _is_view(source):
        return None
    names = ([_COLUMN], [(source.alias or source.table_name).lower(), _COLUMN])
    for condition in _conditions(select.where_clause):
        runs = _runs(condition, names)
        if runs is not None:
            return runs
    return None


def _is_view(source: _Source) -> bool:
    is_bare = not (source.sample or source.at_clause or source.schema_name or source.catalog_name)
    return (
        source.type == "BASE_TABLE" and source.table_name.lower() in _VIEWS and is_bare and not source.column_name_alias
    )


def _has_another_query(tree: object) -> bool:
    """Return whether there is a query beside the outermost: a subquery, a CTE, a side of a set operation."""
    stack = [tree]
    queries = 0
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            node = cast("dict[str, object]", part)
            queries += "from_table" in node or node.get("class") == "SUBQUERY"
            stack += node.values()
        elif isinstance(part, list):
            stack += cast("list[object]", part)
    return queries > 1


def _conditions(where: _Part) -> Iterable[_Part]:
    """Yield what must hold of every row."""
    if where.of == "CONJUNCTION" and where.type == "CONJUNCTION_AND":
        for child in where.children:
            yield from _conditions(child)
    else:
        yield where


def _runs(condition: _Part, names: tuple[list[str], ...]) -> list[str] | None:
    if condition.of == "COMPARISON" and condition.type == "COMPARE_EQUAL":
        sides = [condition.left, condition.right]
        if not _is_column(sides[0], names):
            sides.reverse()
        column, constants = sides[0], sides[1:]
    elif condition.of == "OPERATOR" and condition.type == "COMPARE_IN" and condition.children:
        column, constants = condition.children[0], list(condition.children[1:])
    else:
        return None
    texts = [_text(constant) for constant in constants]
    known = [text for text in texts if text is not None]
    return known if _is_column(column, names) and len(known) == len(texts) else None


def _is_column(part: _Part | None, names: tuple[list[str], ...]) -> bool:
    return part is not None and part.of == "COLUMN_REF" and [name.lower() for name in part.column_names] in names


def _text(part: _Part | None) -> str | None:
    """Return the text that an expression is, None where it is anything else."""
    if part is None or part.of != "CONSTANT" or part.literal is None or part.literal.kind != "STRING":
        return None
    return part.literal.text

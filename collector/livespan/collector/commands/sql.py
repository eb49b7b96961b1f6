"""`livespan sql`: a SELECT over everything recorded, printed as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import click

from livespan.collector.options import OutputForm, Where, output_option, where_options
from livespan.collector.render import (
    Cell,
    Column,
    count,
    note,
    on_terminal,
    print_json,
    print_jsonl,
    print_table,
    printable,
    styled,
    terminal_width,
    width,
)
from livespan.collector.wrong_bytes import read_stdin

if TYPE_CHECKING:
    from livespan.proto.v1.livespan_pb2 import SqlReply

__all__ = ["sql"]

_Row: TypeAlias = "list[object]"
_NARROWEST: Final = 12
_PLAN: Final = ["explain_key", "explain_value"]


@click.command(short_help="Query everything recorded with SQL.")
@click.argument("statement")
@output_option
@where_options
def sql(where: Where, output: OutputForm, statement: str) -> None:
    """Run one reading STATEMENT (DuckDB's SQL; `-` reads it from stdin) over what is recorded.

    The views are records, nodes, runs, effects, llm_calls, checkpoints and content.

    \b
      livespan sql "FROM runs"
      livespan sql "SELECT model, sum(input_tokens), sum(output_tokens) FROM llm_calls GROUP BY ALL"
      livespan sql "DESCRIBE nodes"
      livespan sql -o jsonl - < report.sql

    JSON is a list of objects, a column a key (a repeated name gets _1, _2); JSONL an object a line, as it
    comes. Times are ISO 8601 in UTC, blobs base64, decimals text, NULL and NaN null.
    """
    from livespan.collector.client import open_query  # grpc costs 70 ms that --help need not pay
    from livespan.proto.v1.livespan_pb2 import SqlRequest

    text = read_stdin() if statement == "-" else statement
    with open_query(where) as query:
        columns, rows = _read(iter(query.Sql(SqlRequest(sql=text))))
        match output:
            case OutputForm.JSONL:
                print_jsonl(dict(zip(columns, row, strict=True)) for row in rows)
            case OutputForm.JSON:
                print_json([dict(zip(columns, row, strict=True)) for row in rows])
            case OutputForm.TEXT:
                _print_text(columns, list(rows))


def _read(replies: Iterator[SqlReply]) -> tuple[list[str], Iterator[_Row]]:
    """Return the columns and, as they come, the rows of an answer; the first reply says the columns, rows or not."""
    import msgspec

    first = next(replies)

    def rows() -> Iterator[_Row]:
        decoder = msgspec.json.Decoder(list[list[object]])
        yield from decoder.decode(first.rows) if first.rows else ()
        for reply in replies:
            yield from decoder.decode(reply.rows)

    return list(first.columns), rows()


def _print_text(columns: list[str], rows: list[_Row]) -> None:
    if columns == _PLAN:
        for row in rows:
            click.echo(str(row[1]).rstrip())  # a drawing: it has lines of its own
        return
    table = [[_cell(value) for value in row] for row in rows]
    if on_terminal() and not _fits(columns, table):
        _print_records(columns, table)
    else:
        numeric = [_is_numeric([row[index] for row in rows]) for index in range(len(columns))]
        titles = [
            Column(printable(name), right=right, elastic=True) for name, right in zip(columns, numeric, strict=True)
        ]
        print_table(titles, table)
    if on_terminal():
        note(styled(count(len(rows), "row"), "dim"))


def _print_records(columns: list[str], table: Sequence[Sequence[Cell]]) -> None:
    """Print a row as lines of `column  value`: what a terminal has room for where a table would be dots."""
    pair = (Column("", right=True), Column("", elastic=True))
    for number, row in enumerate(table, 1):
        click.echo(styled(f"── row {number} ", "dim") + styled("─" * 20, "dim"))
        print_table(pair, [[Cell(name, "dim"), value] for name, value in zip(columns, row, strict=True)])


def _fits(columns: list[str], table: Sequence[Sequence[Cell]]) -> bool:
    """Return whether each column can have its width, or a readable part of it, on this terminal."""
    needed = 0
    for index, name in enumerate(columns):
        widest = max([width(name), *(width(printable(row[index].text)) for row in table)])
        needed += min(widest, max(_NARROWEST, width(name))) + 2
    return needed - 2 <= terminal_width()


def _cell(value: object) -> Cell:
    import msgspec

    match value:
        case None:
            return Cell("NULL", "dim")
        case bool():
            return Cell("true" if value else "false")
        case str():
            return Cell(value)
        case int() | float():
            return Cell(str(value))
        case _:
            return Cell(msgspec.json.encode(value).decode())


def _is_numeric(values: Sequence[object]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)

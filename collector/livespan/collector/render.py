"""How commands print: tables that suit where they go, JSON, numbers and times for people. What is said is theirs.

    terminal   colours (not with NO_COLOR), elastic columns cut to the width with an ellipsis
    pipe       aligned text, never cut, no colour; JSON is the contract for programs

Whatever comes from a record is made printable first: a tool's name or a model's answer must not speak to the terminal.
Tables are laid out here and not by rich: it cuts every column at once when a line is too long, costs 60 ms, and is not
there in an agent's install.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import click
import msgspec

from livespan.collector.options import OutputForm

__all__ = [
    "Cell",
    "Column",
    "count",
    "duration",
    "moment",
    "note",
    "on_terminal",
    "print_json",
    "print_jsonl",
    "print_result",
    "print_table",
    "printable",
    "styled",
    "table_lines",
    "terminal_width",
    "width",
]

_GAP: Final = "  "
_NARROWEST: Final = 8
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: its heading; "" in all columns means a table without a heading.
        right: numbers stand to the right.
        elastic: on a terminal that is too narrow, this column is cut before others.
        wraps: an elastic column, the last, whose text goes on below instead of being cut.
    """

    title: str
    right: bool = False
    elastic: bool = False
    wraps: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one place of a table; `style` is "bold red", "dim" or the like, seen on terminals alone."""

    text: str
    style: str = ""


def on_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout.isatty()


def terminal_width() -> int:
    """Return the columns of the terminal."""
    return shutil.get_terminal_size().columns


def printable(text: str) -> str:
    """Return text with control characters spelled out (`\\n`, `\\x1b`), so that it stays in its place on its line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _spelled(char) for char in text)


def width(text: str) -> int:
    """Return how many terminal columns printable text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table to stdout, as suits where it goes."""
    for line in table_lines(columns, rows, terminal_width() if on_terminal() else None):
        click.echo(line)


def table_lines(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], limit: int | None = None) -> Iterable[str]:
    """Yield a table as aligned lines without trailing blanks; with a limit, elastic columns are cut to fit into it."""
    cells = [[Cell(printable(cell.text), cell.style) for cell in row] for row in rows]
    if any(column.title for column in columns):
        cells.insert(0, [Cell(column.title, "dim") for column in columns])
    widths = [max((width(row[index].text) for row in cells), default=0) for index in range(len(columns))]
    if limit is not None:
        _shrink(widths, columns, limit)
    for row in cells:
        for line in _wrapped(row, widths[-1]) if columns[-1].wraps else (row,):
            last = max((index for index, cell in enumerate(line) if cell.text), default=-1)
            parts = [
                _laid_out(cell, widths[index], right=columns[index].right, pad=index < last)
                for index, cell in enumerate(line[: last + 1])
            ]
            yield _GAP.join(parts)


def print_json(value: object) -> None:
    """Print one JSON document, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_jsonl(values: Iterable[object]) -> None:
    """Print each value as JSON on a line of its own."""
    for value in values:
        click.echo(msgspec.json.encode(value))


def print_result(result: object, output: OutputForm) -> None:
    """Print what a command did as one JSON document, indented or on a line; nothing as text, which is a `note`."""
    match output:
        case OutputForm.JSON:
            print_json(result)
        case OutputForm.JSONL:
            print_jsonl([result])
        case OutputForm.TEXT:
            return


def note(text: str) -> None:
    """Say something to people, on stderr."""
    click.echo(text, err=True)


def styled(text: str, style: str) -> str:
    """Return a line for stdout in "bold red" or the like; as it is where no terminal shows colours."""
    words = style.split()
    if not words or not text or not on_terminal() or os.environ.get("NO_COLOR"):
        return text
    colours = [word for word in words if word not in {"bold", "dim"}]
    return click.style(
        text, fg=colours[0] if colours else None, bold="bold" in words or None, dim="dim" in words or None
    )


def duration(ms: float | None) -> str:
    """Return a duration in milliseconds as people say it: `0.4 ms`, `812 ms`, `1.8 s`, `2 min 05 s`, `3 h 12 min`."""
    if ms is None:
        return ""
    if ms < 999.5:
        return f"{ms:.1f} ms" if ms < 9.95 else f"{ms:.0f} ms"
    if ms < _MINUTE_MS - 50:
        return f"{ms / 1000:.1f} s"
    if ms < _HOUR_MS - 500:
        minutes, seconds = divmod(round(ms / 1000), 60)
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(round(ms / _MINUTE_MS), 60)
    return f"{hours} h {minutes:02d} min"


def moment(at: str | None) -> str:
    """Return an ISO 8601 UTC time to the second, as `2026-01-31 09:30:00Z`; "" for none."""
    return datetime.fromisoformat(at).strftime("%Y-%m-%d %H:%M:%SZ") if at else ""


def count(number: int, noun: str = "", plural: str = "") -> str:
    """Return a number with separators, and its noun: `1,204`, `1 node`, `12 nodes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}" if noun else f"{number:,}"


def _wrapped(row: Sequence[Cell], columns: int) -> Iterable[Sequence[Cell]]:
    """Yield a row as several whose last cells together have all of its text."""
    *others, last = row
    for text in textwrap.wrap(last.text, columns) or [""]:
        yield [*others, Cell(text, last.style)]
        others = [Cell("")] * len(others)


def _shrink(widths: list[int], columns: Sequence[Column], limit: int) -> None:
    """Take from the widest elastic column, and again, until the line fits or none has anything to spare."""
    elastic = [index for index, column in enumerate(columns) if column.elastic]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - limit
    while excess > 0:
        widest = max(elastic, key=lambda index: widths[index], default=-1)
        if widest < 0 or widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1
        excess -= 1


def _laid_out(cell: Cell, columns: int, *, right: bool, pad: bool) -> str:
    text = _cut(cell.text, columns)
    fill = " " * (columns - width(text))
    if right:
        return fill + styled(text, cell.style)
    return styled(text, cell.style) + (fill if pad else "")


def _cut(text: str, columns: int) -> str:
    if width(text) <= columns:
        return text
    kept, room = 0, columns - 1
    while kept < len(text) and width(text[kept]) <= room:
        room -= width(text[kept])
        kept += 1
    return text[:kept] + "…"


def _spelled(char: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\u00a0": " "}.get(char) or ascii(char)[1:-1]

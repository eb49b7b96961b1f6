"""Why a run's newest life is over, and the command that goes on from there, for people.

    attempt 1 died 2026-01-31 09:00:02Z: its process is gone
      livespan recover order-17    # starts it again by its recorded command

What is in doubt has lines of its own below the tree (run_tree.py), so its hint is not said here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from livespan.collector.query.shapes import RunDetail, ShownEnding
from livespan.collector.render import moment, printable
from livespan.collector.run_tree import quoted
from livespan.proto.node import RunStatus

__all__ = ["ending_lines"]

_IN_DOUBT: Final = "InDoubt"
_MORE_LINES: Final = 8
"""Of what a life ended with; `-o json` has all of it."""
_LOOP: Final = 3
"""As many lives in a row without anything new are a loop; `livespan run` gives up by the same number."""


def ending_lines(run: RunDetail, flags: str = "") -> Iterator[str]:
    """Yield the line that says why the newest life is over, and those that say what to do; none where it is not."""
    ending = run.ending
    if ending is None:
        return
    first, *more = (line.strip() for line in _what(run, ending).splitlines() if not line.isspace())
    yield printable(first)
    yield from (f"  {printable(line)}" for line in more[:_MORE_LINES])
    if len(more) > _MORE_LINES:
        yield "  …"
    if ending.idle_attempts >= _LOOP:
        yield f"  a crash loop: the last {ending.idle_attempts} attempts have recorded nothing new"
    if run.status == RunStatus.CANCELLED or run.in_doubt:
        return
    if ending.how == "stopped" and ending.name != _IN_DOUBT:
        yield from (f"  {printable(line)}" for line in ending.hint.splitlines())
        return
    if ending.name == _IN_DOUBT:
        yield "  What was in doubt is settled; start the program again, or:"
    command = " ".join(part for part in ("livespan recover", flags, quoted(run.run_id)) if part)
    yield f"  {command}    # starts it again by its recorded command"


def _what(run: RunDetail, ending: ShownEnding) -> str:
    life, at = f"attempt {run.attempts}", f" {moment(ending.at)}" if ending.at else ""
    match ending.how:
        case "stopped":
            return f"{life} was stopped{at} by {ending.name}: {ending.message}"
        case "failed":
            return f"{life} failed{at} with {ending.name.removeprefix('builtins.')}: {ending.message}"
        case "cancelled":
            return f"cancelled{at}: {ending.message}"
        case "died":
            return f"{life} died{at}: {ending.message}"
        case _:
            return f"{life} ended{at}: {ending.message}"

"""The cells of the crash matrix, and a cover of them: few cells in which every two settings meet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Final, TypeAlias

import msgspec

__all__ = ["DIES", "FRAMEWORKS", "Cell", "all_cells", "cover"]

FRAMEWORKS: Final = {
    "anthropic": ("nested", "async", "stream"),
    "crewai": ("nested", "async", "stream"),
    "google_adk": ("nested", "async", "stream"),
    "langgraph": ("nested", "async", "stream"),
    "mcp": ("async",),
    "openai": ("nested", "async", "stream"),
    "openai_agents": ("nested", "async", "stream"),
    "pydantic_ai": ("nested", "async", "stream"),
    "smolagents": ("nested", "stream"),
    "strands": ("nested", "async", "stream"),
}
"""What is played of each framework beside once, twice, thrice and plain, which every one has."""
DIES: Final = ("before", "inside", "after", "between")
"""before, inside, after: the effect. between: the answer that asks for it is recorded, its start is not."""
_POLICIES: Final = ("fail", "retry", "probe")
_Pair: TypeAlias = tuple[tuple[int, str], tuple[int, str]]


class Cell(msgspec.Struct, frozen=True, order=True):
    """One crash: see `Job` in agent.py. `drain_too`: the drain is killed with the agent."""

    framework: str
    die_at: str
    policy: str = "fail"
    shape: str = "once"
    way: str = "plain"
    drain_too: bool = False
    how: str = "ours"

    @property
    def name(self) -> str:
        """What it is called in tests and results."""
        words = (self.die_at or "twice over", self.policy, self.shape, self.way, "drain" * self.drain_too, self.how)
        return " ".join(filter(None, words))


def all_cells(framework: str) -> list[Cell]:
    """Return every cell of a framework, ours first; and one run that is started again when it has ended."""
    has = FRAMEWORKS[framework]
    shapes = ("once", "twice", "thrice", *[shape for shape in ("nested",) if shape in has])
    ways = ("plain", *[way for way in ("async", "stream") if way in has])
    ours = [
        Cell(framework, die_at, policy, shape, way, drain_too)
        for die_at, policy, shape, way, drain_too in product(DIES, _POLICIES, shapes, ways, (False, True))
    ]
    again = [Cell(framework, "", "fail", shape, way) for shape, way in product(shapes, ways)]
    beside = [
        Cell(framework, die_at, "fail", shape, how=how)
        for how, die_at, shape in product(("nothing", "own"), ("before", "inside", "after"), shapes)
    ]
    return ours + again + beside


def cover(cells: Sequence[Cell]) -> list[Cell]:
    """Return some of our cells, in which each two settings that occur together anywhere do so at least once."""
    ours = [cell for cell in cells if cell.how == "ours"]
    missing = {pair for cell in ours for pair in _pairs(cell)}
    chosen: list[Cell] = []
    while missing:
        best = max(ours, key=lambda cell: len(missing & _pairs(cell)))
        chosen.append(best)
        missing -= _pairs(best)
    return chosen


def _pairs(cell: Cell) -> set[_Pair]:
    settings = (cell.die_at, cell.policy, cell.shape, cell.way, str(cell.drain_too))
    return set(combinations(enumerate(settings), 2))

"""A figure: one measured number, with the floor that it must keep and the aim that it should reach."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["Figure"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    Attributes:
        group: of `groups.py`.
        name: what was measured, and how, in few words.
        value: in `unit`; None where it could not be measured, `note` says why.
        floor, aim: bounds in the same unit; None where the figure stands there for comparison only.
        at_least: a figure of which more is better.
        note: what a reader must know to read it right.
        detail: percentiles and baselines that led to it.
    """

    group: str
    name: str
    value: float | None
    unit: str
    floor: float | None = None
    aim: float | None = None
    at_least: bool = False
    note: str = ""
    detail: Mapping[str, float] = {}

    @property
    def missed(self) -> bool:
        """Whether it has a floor and does not keep it."""
        return self.floor is not None and not self._keeps(self.floor)

    @property
    def verdict(self) -> str:
        """ "aim met", "met", "MISSED", or "" for a figure without a floor."""
        if self.floor is None:
            return ""
        if self.missed:
            return "MISSED"
        return "aim met" if self.aim is not None and self._keeps(self.aim) else "met"

    def _keeps(self, bound: float) -> bool:
        if self.value is None:
            return False
        return self.value >= bound if self.at_least else self.value <= bound

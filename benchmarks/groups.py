"""Which groups of figures there are, and how long each may take: together a quarter of an hour at most."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final, cast

from benchmarks.figure import Figure

__all__ = ["GROUPS", "load"]

GROUPS: Final[dict[str, tuple[str, float]]] = {
    "agent": ("benchmarks.agent_thread", 110.0),
    "intend": ("benchmarks.intend", 45.0),
    "acknowledged": ("benchmarks.acknowledged", 40.0),
    "sustained": ("benchmarks.sustained", 75.0),
    "collector": ("benchmarks.collector_alone", 100.0),
    "paced": ("benchmarks.paced", 45.0),
    "saver": ("benchmarks.saver", 45.0),
    "opening": ("benchmarks.opening", 45.0),
    "starting": ("benchmarks.starting", 45.0),
    "sql_million": ("benchmarks.lake_million", 420.0),
}
"""Name: the module that measures, and its bound in seconds."""


def load(name: str) -> Callable[[bool], list[Figure]]:
    """Return what measures a group: `measure(quick)`."""
    return cast("Callable[[bool], list[Figure]]", import_module(GROUPS[name][0]).measure)

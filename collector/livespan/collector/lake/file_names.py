"""What the name of a lake file says: what is in it, and its place in the table's order.

    part-<watermark>-<random>.parquet      rows as they were published or merged; all files of `content`
    plain-<watermark>-<random>.parquet     of plain runs, the rows that the view `nodes` shows as they stand
    beside-<watermark>-<random>.parquet    the other rows of these runs: leases, checkpoints, what an end stands for

A merge of `nodes` writes up to one of each, under the same watermark and random letters. Those are a unit: a run of it
is either in `plain` and `beside` alone or in `part` alone, and they are merged again together.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

__all__ = ["HasPath", "Role", "place_of", "role_of", "sort_key", "units"]


class Role(StrEnum):
    """What is in a file."""

    PLAIN = "plain"
    BESIDE = "beside"
    PART = "part"


class HasPath(Protocol):
    """Whatever stands for a file."""

    @property
    def path(self) -> Path: ...


_File = TypeVar("_File", bound=HasPath)


def role_of(path: Path) -> Role:
    """Return what is in a file; one that another engine named holds rows as they were published."""
    name = path.name.partition("-")[0]
    return Role(name) if name in set(Role) else Role.PART


def place_of(path: Path) -> str:
    """Return the part of a name that the files of one unit share: watermark and random letters."""
    return path.name.partition("-")[2] or path.name


def sort_key(path: Path) -> tuple[str, str]:
    """Return what files are ordered by: watermark, random letters, then the name."""
    return place_of(path), path.name


def units(files: Iterable[_File]) -> list[tuple[_File, ...]]:
    """Return files, which stand in their order, grouped into units."""
    return [tuple(unit) for _, unit in groupby(files, key=lambda file: place_of(file.path))]

"""Tests of frameworks that have an environment of their own are collected there alone (`make test-matrix`)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

_MODULES: Final = {"google_adk": "google.adk"}
"""Packages that are imported by another name than the framework's."""


def _is_here(framework: str) -> bool:
    try:
        return find_spec(_MODULES.get(framework, framework)) is not None
    except ModuleNotFoundError:
        return False


collect_ignore = [
    path.name for path in Path(__file__).parent.glob("test_*.py") if not _is_here(path.stem.removeprefix("test_"))
]

"""The newest result of `make torture` that is checked in: every part played in full, and nothing wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PARTS = {"kills", "eio", "clock", "full-disk", "flips", "soak"}
TIMES = 20
SOAK_S = 600.0


def newest() -> tuple[str, dict[str, Any]]:
    path = max((ROOT / "tests" / "torture" / "results").glob("*.json"))
    return path.name, json.loads(path.read_text())


def test_every_part_was_played_as_often_as_it_should_be_and_found_nothing() -> None:
    _, result = newest()
    assert (result["problems"], result["not played"]) == ([], [])
    assert result["parts"].keys() == PARTS
    assert all(part["times"] >= TIMES for part in result["parts"].values())
    assert result["parts"]["soak"]["seconds"] >= SOAK_S
    assert not any(part["commit"].endswith("and changes") for part in result["parts"].values())


def test_the_readme_names_it() -> None:
    name, _ = newest()
    assert f"tests/torture/results/{name}" in (ROOT / "README.md").read_text()

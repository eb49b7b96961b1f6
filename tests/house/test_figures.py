"""What the README says of speed is what the newest benchmarks found."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.report import floors_table, read_figures, write_readme

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_the_readme_has_the_table_of_the_newest_results() -> None:
    assert f"\n\n{floors_table(read_figures())}\n\n" in (ROOT / "README.md").read_text()


def test_the_newest_results_are_of_a_whole_run() -> None:
    told = json.loads((RESULTS / "latest.json").read_text())
    assert (told["command"].strip(), told["failures"]) == ("python -m benchmarks", {})


def test_a_new_table_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    readme, figures = tmp_path / "README.md", read_figures()
    readme.write_text("# A\n\n| what | measured | floor | |\n|---|--:|--:|---|\n| old | 1 | 2 | met |\n\n## B\n")
    write_readme(figures, readme)
    assert readme.read_text() == f"# A\n\n{floors_table(figures)}\n\n## B\n"

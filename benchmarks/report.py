"""The results as files: latest.json for programs, latest.md for people. Both name the machine and the command. What has
a floor stands in the README, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.figure import Figure

__all__ = ["Results", "floors_table", "markdown", "read_figures", "shown", "write", "write_readme"]

_FOLDER: Final = Path(__file__).with_name("results")
_README: Final = Path(__file__).parents[1] / "README.md"
_HEAD: Final = "| what | measured | floor | |"


class Results(msgspec.Struct, frozen=True):
    """One run of the benchmarks.

    Attributes:
        command: what was typed.
        machine: where.
        failures: groups that gave no figures, and why.
    """

    command: str
    machine: Mapping[str, str]
    figures: Sequence[Figure]
    failures: Mapping[str, str]


def write(results: Results, folder: Path = _FOLDER) -> list[Path]:
    """Write both files and return them."""
    folder.mkdir(exist_ok=True)
    data = {
        "command": results.command,
        "machine": results.machine,
        "failures": results.failures,
        "figures": [msgspec.to_builtins(figure) | {"verdict": figure.verdict} for figure in results.figures],
    }
    files = [folder / "latest.json", folder / "latest.md"]
    files[0].write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")
    files[1].write_text(markdown(results), encoding="utf-8")
    return files


def write_readme(figures: Sequence[Figure], readme: Path = _README) -> None:
    """Put the table of floors in the place of the one that the README has."""
    before, head, rest = readme.read_text(encoding="utf-8").partition(_HEAD)
    if not head:
        raise ValueError(f"{readme} has no line {_HEAD!r}")
    after = rest.partition("\n\n")[2]
    readme.write_text(f"{before}{floors_table(figures)}\n\n{after}", encoding="utf-8")


def floors_table(figures: Sequence[Figure]) -> str:
    """Return the figures that have floors as the README shows them."""
    lines = [_HEAD, "|---|--:|--:|---|"]
    lines += [
        f"| {_cell(figure.name)} | {_value(figure)} | {_floor(figure)} | {_verdict(figure)} |"
        for figure in figures
        if figure.floor is not None
    ]
    return "\n".join(lines)


def read_figures(file: Path = _FOLDER / "latest.json") -> list[Figure]:
    """Return the figures of results that were written."""
    return msgspec.json.decode(file.read_bytes(), type=_Written).figures


class _Written(msgspec.Struct):
    figures: list[Figure]


def markdown(results: Results) -> str:
    """Return the results as a page."""
    lines = ["# Benchmarks", "", f"`{results.command}`", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in results.machine.items()]
    lines += ["", "| what | value | floor | aim | | |", "|---|--:|--:|--:|---|---|"]
    for figure in results.figures:
        aim = shown(figure.aim) if figure.aim is not None else ""
        cells = [_cell(figure.name), _value(figure), _floor(figure), aim, _verdict(figure), _cell(figure.note)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| {name} | | | | **NOT MEASURED** | {_cell(reason)} |" for name, reason in results.failures.items()]
    missed = [figure for figure in results.figures if figure.missed]
    floors = [figure for figure in results.figures if figure.floor is not None]
    lines += ["", f"{len(floors) - len(missed)} of {len(floors)} floors met."]
    return "\n".join(lines) + "\n"


def shown(value: float | None) -> str:
    """Return a number with three digits that count, thousands apart; "-" for none."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


def _value(figure: Figure) -> str:
    return f"{shown(figure.value)} {figure.unit}".strip()


def _floor(figure: Figure) -> str:
    return "" if figure.floor is None else f"{'>=' if figure.at_least else '<='} {shown(figure.floor)}"


def _verdict(figure: Figure) -> str:
    return f"**{figure.verdict}**" if figure.missed else figure.verdict


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

"""The results as files: latest.json for programs, latest.md for people. Both name the machine and the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.figure import Figure

__all__ = ["Results", "markdown", "shown", "write"]

_FOLDER: Final = Path(__file__).with_name("results")


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


def markdown(results: Results) -> str:
    """Return the results as a page."""
    lines = ["# Benchmarks", "", f"`{results.command}`", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in results.machine.items()]
    lines += ["", "| what | value | floor | aim | | |", "|---|--:|--:|--:|---|---|"]
    for figure in results.figures:
        bound = ">=" if figure.at_least else "<="
        floor = f"{bound} {shown(figure.floor)}" if figure.floor is not None else ""
        aim = shown(figure.aim) if figure.aim is not None else ""
        verdict = f"**{figure.verdict}**" if figure.missed else figure.verdict
        value = f"{shown(figure.value)} {figure.unit}".strip()
        lines.append(f"| {_cell(figure.name)} | {value} | {floor} | {aim} | {verdict} | {_cell(figure.note)} |")
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


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

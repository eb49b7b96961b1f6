"""What a person sees of a demo: a line a scenario, what happened below it, then the lake and what to try next.

terminal   colours, and a spinner while a scenario is played
pipe       the same lines, plain
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.status import Status

from livespan.collector.render import count, duration, on_terminal, printable, styled
from livespan.replay.demo.lake_check import STATEMENT
from livespan.replay.demo.performance import Report
from livespan.replay.demo.sabotage import Sabotage
from livespan.replay.demo.scenarios import Scenario
from livespan.replay.demo.verdicts import Verdict

__all__ = ["Silent", "Teller", "show_end", "show_start", "this_command"]

_WIDTHS: Final = (9, 62, 6, 7, 11, 7)
_HEADINGS: Final = ("AGENT", "WHAT HAPPENS TO IT", "POLICY", "CHARGES", "MODEL CALLS", "BACK IN")
_RIGHT: Final = (False, False, False, True, True, True)
_INTRODUCTION: Final = (
    "An agent handles an order: it asks a model, looks the order up and checks the stock at once, charges a card",
    "(a line in a ledger file) and asks the model for a last word. It is killed with SIGKILL where it hurts most, and",
    "started again at once with the same command. The card must be charged once, and no answer be paid for twice.",
    "Charges are counted in the ledger, model calls by the model's server; our own record is not asked.",
    "",
    "Killed inside the charge, nobody knows whether it happened. The tool's policy says what to do then:",
    "fail: stop, a person looks it up; retry: ask again, with the same key; probe: the program looks it up.",
)
_EFFECTS: Final = "SELECT run_id, name, status, latency_ms FROM effects"
_SABOTAGES: Final = {
    Sabotage.SPOOL: "records wait in the agent's memory for a batch exporter, as is usual in telemetry",
    Sabotage.INTENT: "a charge starts before anybody has acknowledged that it does",
    Sabotage.LEASE: "the collector lets any process start a charge, whoever holds the run",
}


class Silent:
    """For programs: they read the report at the end."""

    def begins(self, scenario: Scenario) -> None:
        """Say nothing."""

    def ends(self, verdict: Verdict) -> None:
        """Say nothing."""


class Teller:
    """Prints scenarios as they are played."""

    def __init__(self) -> None:
        self._status = Status("", console=Console(stderr=True)) if on_terminal() and sys.stderr.isatty() else None

    def begins(self, scenario: Scenario) -> None:
        """Say what is being played."""
        if self._status is not None:
            self._status.update(f"{scenario.agent}: {scenario.title}")
            self._status.start()

    def ends(self, verdict: Verdict) -> None:
        """Print a scenario's line, and what happened."""
        if self._status is not None:
            self._status.stop()
        ideal = "?" if verdict.llm_calls_ideal is None else verdict.llm_calls_ideal
        tries = verdict.charge_tries > 1 and verdict.ok
        cells = (
            verdict.agent,
            verdict.title,
            verdict.policy,
            f"{verdict.charges}{'*' if tries else ''}",
            f"{verdict.llm_calls_live} of {ideal}",
            duration(verdict.recover_ms) if verdict.recover_ms else "",
        )
        click.echo(f"{_line(cells)}  {styled('ok', 'green') if verdict.ok else styled('BROKEN', 'bold red')}")
        for line in verdict.happened:
            click.echo(styled(f"{'':11}{printable(line)}", "dim"))
        if tries:
            again = f"{verdict.charges} charge in {verdict.charge_tries} tries under one key"
            click.echo(styled(f"{'':11}* {again}", "dim"))
        for line in verdict.broken:
            click.echo(styled(f"{'':11}BROKEN: {printable(line)}", "red"))


def show_start(home: str, sabotage: Sabotage) -> None:
    """Say what is about to be seen."""
    for line in _INTRODUCTION:
        click.echo(line)
    if sabotage is not Sabotage.NONE:
        click.echo()
        click.echo(styled(f"Sabotage {sabotage}: {_SABOTAGES[sabotage]}.", "bold red"))
        click.echo("The decorated agent alone is played. The demo must notice, and fail.")
    click.echo()
    click.echo(f"home  {home}")
    click.echo()
    click.echo(styled(_line(_HEADINGS), "bold"))


def show_end(report: Report, started_s: float) -> None:
    """Say what the lake says, whether all went well, and what to try next."""
    lake = report.lake
    click.echo()
    click.echo("The collector is stopped. A process that imports duckdb and nothing else reads the Parquet files:")
    for line in STATEMENT.splitlines():
        click.echo(styled(f"    {line}", "dim"))
    verdict = styled("as the ledgers say", "green") if lake.ok else styled("BROKEN", "bold red")
    lives = f"{count(lake.runs, 'run')} in {count(lake.lives, 'life', 'lives')} of their agents"
    calls = f"{count(lake.model_calls, 'model call')}, {count(lake.charges, 'charge')}"
    click.echo(f"{lives}, {calls}: {verdict}")
    for line in lake.broken:
        click.echo(styled(f"    BROKEN: {printable(line)}", "red"))
    click.echo()
    broken = [verdict for verdict in report.scenarios if not verdict.ok]
    total = len(report.scenarios)
    if report.ok:
        result = styled(f"All {total} scenarios kept their promises", "bold green")
    else:
        result = styled(f"{len(broken)} of {total} scenarios broke a promise", "bold red")
        if report.sabotage != Sabotage.NONE:
            result += f", as they must without {report.sabotage}"
    click.echo(f"{result}, in {_seconds(started_s)}.")
    last = next((verdict.run_id for verdict in report.scenarios if verdict.in_doubt), report.scenarios[0].run_id)
    click.echo(f"Everything is left in {report.home}. Try next:")
    command, home = this_command(), shlex.quote(report.home)
    click.echo(f"    {command} runs list --home {home}")
    click.echo(f"    {command} runs show {last} --home {home}")
    click.echo(f'    {command} sql "{_EFFECTS}" --home {home}')


def this_command() -> str:
    """Return what to type for the `livespan` command here: a venv that is not activated has it at its path alone."""
    if shutil.which("livespan"):
        return "livespan"
    if Path(sys.argv[0]).name == "livespan":
        return shlex.quote(sys.argv[0])
    return f"{shlex.quote(sys.executable)} -m livespan.collector"


def _line(cells: Sequence[str]) -> str:
    laid_out = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, _WIDTHS, _RIGHT, strict=True)
    ]
    return "  ".join(laid_out)


def _seconds(started_s: float) -> str:
    return duration((time.monotonic() - started_s) * 1000)

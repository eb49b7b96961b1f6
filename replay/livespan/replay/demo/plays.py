"""How a scenario is played: who is killed or frozen, who starts again, who settles doubt. It is told, not judged."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from typing import Final

import msgspec

from livespan.collector.render import count
from livespan.replay.demo.job import Outcome, Policy
from livespan.replay.demo.life import Life
from livespan.replay.demo.scenarios import Doubt, Play, Scenario, Taken
from livespan.replay.demo.stage import PROJECT, Stage

__all__ = ["Tale", "play"]

_TAKEOVER_S: Final = 40.0
_HOW: Final = {
    Policy.RETRY: "charge_card was asked again with the same key, and the provider gave its first receipt",
    Policy.PROBE: "the probe found the charge in the ledger, so charge_card was not asked again",
}
_LATE_SQL: Final = """
    SELECT count(*) FILTER (kind = 'ended' AND epoch = 1) AS ends,
           (SELECT count(*) FROM nodes WHERE run_id = '{run}' AND conflict) AS conflicts
    FROM records WHERE run_id = '{run}' AND name = 'charge_card'
"""


@dataclass(slots=True)
class Tale:
    """What happened in a scenario.

    Attributes:
        lines: for people, in order.
        in_doubt: some life stopped since the charge was in doubt.
        recovered: the last life came to its end.
        recover_ms: from the start of the process that finished the run to its end; 0 where nothing was disturbed.
        broken: promises that the play itself saw broken.
    """

    lines: list[str] = field(default_factory=list[str])
    in_doubt: bool = False
    recovered: bool = False
    recover_ms: float | None = None
    broken: list[str] = field(default_factory=list[str])

    def say(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    def broke(self, promise: str) -> None:
        """Note a broken promise."""
        self.broken.append(promise)


def play(stage: Stage, scenario: Scenario) -> Tale:
    """Play a scenario and return its tale.

    Raises:
        LivespanError: it could not be played to its end.
    """
    tale = Tale()
    if scenario.play is Play.UNDISTURBED:
        _come_back(stage, scenario, tale)
        return tale
    if Taken.DRAIN in scenario.takes:
        stage.served.freeze_drain()
    first = stage.start(scenario, scenario.hold_at)
    if not first.wait_held():
        tale.broke(f"it never came to the point {scenario.hold_at.value!r}: {first.outcome()}")
        return tale
    if scenario.play is Play.KILLED:
        _kill(stage, scenario, first, tale)
        _come_back(stage, scenario, tale)
        return tale
    first.freeze()
    _come_back(stage, scenario, tale, held=True)
    _thaw(stage, scenario, first, tale)
    return tale


def _kill(stage: Stage, scenario: Scenario, life: Life, tale: Tale) -> None:
    life.kill()
    if Taken.DRAIN in scenario.takes:
        stage.served.kill_drain()
        tale.say("the drain was held up before, so the spool alone had what the charge had not brought along")
    if Taken.COLLECTOR in scenario.takes:
        stage.served.kill_collector()
    if Taken.SPOOL in scenario.takes:
        stage.served.delete_spool()


def _come_back(stage: Stage, scenario: Scenario, tale: Tale, *, held: bool = False) -> None:
    """Start lives with the same run id until one comes to its end; settle doubt once.

    Args:
        held: a frozen process holds the run, so the first to come must be told so, and wait.
    """
    deadline = time.monotonic() + _TAKEOVER_S
    told = False
    while True:
        life = stage.start(scenario)
        outcome = life.outcome()
        if outcome.stopped == "RunHeld" and held and time.monotonic() < deadline:
            if not told:
                told = True
                tale.say(f"a second process was refused: {outcome.message}")
            continue
        if outcome.stopped == "InDoubt" and not tale.in_doubt:
            tale.in_doubt = True
            tale.say(f"started again, it stopped: {outcome.message}")
            if scenario.doubt is Doubt.NONE:
                tale.broke("the charge was in doubt where its outcome must have been known")
            _settle(stage, scenario, outcome, tale)
            continue
        break
    if held and not told:
        tale.broke("a second process was let in while the first one held the run")
    _note_end(scenario, life, outcome, tale)


def _note_end(scenario: Scenario, life: Life, outcome: Outcome, tale: Tale) -> None:
    tale.recovered = outcome.finished
    if not outcome.finished:
        tale.broke(f"it did not come to its end: {outcome.stopped or 'no answer'}: {outcome.message}")
        return
    if scenario.play is Play.UNDISTURBED:
        tale.recover_ms = 0.0
        return
    tale.recover_ms = life.took_ms
    again = "started again, it finished" if not tale.in_doubt else "started once more, it finished"
    state = "state restored, " if outcome.restored else ""
    tale.say(f"{again}: {state}{count(outcome.reused, 'step')} answered from the record, {outcome.executed} run")
    if scenario.policy in _HOW:
        tale.say(_HOW[scenario.policy])


def _settle(stage: Stage, scenario: Scenario, outcome: Outcome, tale: Tale) -> None:
    """Do what the message says: look it up in the ledger, and resolve. Or err, where the scenario has it so."""
    node = outcome.subject.rpartition("/")[2]
    charges = stage.ledger(scenario).charges
    if charges and scenario.doubt is not Doubt.ERROR:
        said = ["--done", msgspec.json.encode(charges[0].as_charge()).decode()]
    else:
        said = ["--not-done"]
    stage.livespan("resolve", stage.run_id(scenario), node, *said, "--project", PROJECT)
    why = "the ledger has the charge" if charges else "the ledger has no charge"
    if scenario.doubt is Doubt.ERROR:
        why = "a person did not look, and says"
    tale.say(f"{why}: {shlex.join(['livespan', 'resolve', stage.run_id(scenario), node, *said])}")


def _thaw(stage: Stage, scenario: Scenario, first: Life, tale: Tale) -> None:
    """Let the frozen holder go on and see what it could still do."""
    charges = len(stage.ledger(scenario).tries)
    first.go_on()
    outcome = first.outcome()
    started = len(stage.ledger(scenario).tries) > charges
    if outcome.stopped != "LeaseLost" or started:
        tale.broke(f"the frozen process {'charged' if started else 'went on'} after another had taken over its run")
        return
    if scenario.play is Play.FROZEN:
        tale.say(f"let go on, the frozen one could not charge: {outcome.message}")
        return
    row = stage.ask(_LATE_SQL.format(run=stage.run_id(scenario)))[0]
    if not row["ends"]:
        tale.broke("the late end of the charge was not kept")
    if scenario.doubt is Doubt.ERROR:
        tale.say("let go on, its own end of the charge came after all, was kept, and is shown as a CONFLICT")
        if not row["conflicts"]:
            tale.broke("the late end contradicts what was said, and no conflict is shown")
    else:
        tale.say("let go on, its own end of the charge came after all, was kept, and agrees")
        if row["conflicts"]:
            tale.broke("the late end agrees with what was said, and a conflict is shown")

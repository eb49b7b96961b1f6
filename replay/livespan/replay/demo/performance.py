"""A whole demo: every scenario in one home, then the collector stopped, then the lake read by a stranger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from livespan.proto.errors import LivespanError
from livespan.proto.home import Home
from livespan.replay.demo.lake_check import LakeCheck, check_lake
from livespan.replay.demo.plays import Tale, play
from livespan.replay.demo.sabotage import Sabotage
from livespan.replay.demo.scenarios import AgentKind, Play, Scenario
from livespan.replay.demo.stage import Stage
from livespan.replay.demo.verdicts import Verdict, judge

__all__ = ["Audience", "Report", "perform"]


class Report(msgspec.Struct, frozen=True):
    """What `livespan demo -o json` prints. Fields are only added."""

    ok: bool
    scenarios: list[Verdict]
    lake: LakeCheck
    sabotage: str
    home: str


class Audience(Protocol):
    """Is told what goes on, while it goes on."""

    def begins(self, scenario: Scenario) -> None: ...

    def ends(self, verdict: Verdict) -> None: ...


def perform(
    home: Home,
    scenarios: Sequence[Scenario],
    audience: Audience,
    *,
    suffix: str = "",
    sabotage: Sabotage = Sabotage.NONE,
) -> Report:
    """Play the scenarios, judge them, and compare the lake with the ledgers; leaves no process behind."""
    verdicts: list[Verdict] = []
    undisturbed: dict[AgentKind, int] = {}
    short_lease = False
    with Stage(home, suffix=suffix, sabotage=sabotage) as stage:
        for scenario in scenarios:
            audience.begins(scenario)
            if scenario.needs_short_lease and not short_lease:
                stage.serve_with_short_lease()
                short_lease = True
            tale = _played(stage, scenario)
            live = stage.model_answers(scenario)
            if scenario.play is Play.UNDISTURBED and tale.recovered:
                undisturbed[scenario.agent] = live
            verdict = judge(
                scenario, stage.run_id(scenario), tale, stage.ledger(scenario), live, undisturbed.get(scenario.agent)
            )
            verdicts.append(verdict)
            audience.ends(verdict)
        stage.served.close()
        lake = check_lake(home, verdicts)
    return Report(
        ok=lake.ok and all(verdict.ok for verdict in verdicts),
        scenarios=verdicts,
        lake=lake,
        sabotage=sabotage.value,
        home=str(home.root),
    )


def _played(stage: Stage, scenario: Scenario) -> Tale:
    """Return the tale of a scenario; one that could not be played to its end has broken its promise."""
    try:
        return play(stage, scenario)
    except LivespanError as error:
        tale = Tale()
        tale.broke(str(error))
        return tale

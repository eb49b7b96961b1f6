"""How the demo judges: one broken promise is enough, whoever counted it. No process is killed here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from livespan.proto.home import Home
from livespan.replay.demo.lake_check import check_lake
from livespan.replay.demo.plays import Tale
from livespan.replay.demo.points import Point, Points
from livespan.replay.demo.scenarios import AgentKind, Doubt, Play, Scenario, scenarios
from livespan.replay.demo.verdicts import Verdict, judge
from livespan.replay.testing import Ledger
from livespan.replay.testing.ledger import Try

SCENARIO = Scenario(AgentKind.DECORATED, "inside-fail", "killed", Play.KILLED, Point.INSIDE, doubt=Doubt.TRUTH)
ONE = Ledger((Try("k", 4200, "rc-1", True),))
TWO = Ledger((*ONE.tries, Try("k", 4200, "rc-2", True)))
KNOWN_KEY = Ledger((*ONE.tries, Try("k", 4200, "rc-1", False)))

VIEWS = """
CREATE VIEW runs AS SELECT * FROM (VALUES ('r-1', 'demo', 'done', 2, 1), ('other', 'theirs', 'failed', 1, 2))
    t(run_id, project, status, attempts, started_at);
CREATE VIEW llm_calls AS SELECT * FROM (VALUES ('r-1', 'SUCCESS'), ('r-1', 'SUCCESS'), ('r-1', 'RUNNING'))
    t(run_id, status);
CREATE VIEW effects AS SELECT * FROM (VALUES ('r-1', 'SUCCESS')) t(run_id, status);
"""


def well() -> Tale:
    return Tale(in_doubt=True, recovered=True, recover_ms=12.34)


def verdict(**changes: object) -> Verdict:
    given: dict[str, object] = {"tale": well(), "ledger": ONE, "live": 3, "undisturbed": 3, "scenario": SCENARIO}
    given.update(changes)
    return judge(run_id="r-1", **given)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # by name, as given


def test_a_scenario_that_kept_every_promise_is_ok() -> None:
    found = verdict()
    assert found.ok
    assert found.broken == []
    assert (found.charges, found.charge_tries, found.llm_calls_live, found.llm_calls_ideal) == (1, 1, 3, 3)
    assert (found.crash_at, found.in_doubt, found.recovered, found.recover_ms) == ("inside", True, True, 12.3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ledger": TWO}, "the card was charged 2 times, not once"),
        ({"ledger": Ledger()}, "the card was charged 0 times, not once"),
        ({"ledger": KNOWN_KEY}, "the provider was asked 2 times to charge, not 1"),
        ({"live": 4}, "the model was paid for 4 answers, not 3"),
        ({"live": 2}, "the model was paid for 2 answers, not 3"),
        ({"undisturbed": None}, "there is no undisturbed run to compare with"),
        ({"tale": Tale(recovered=True)}, "the charge was not said to be in doubt"),
    ],
)
def test_each_count_that_is_off_breaks_the_scenario(changes: dict[str, object], reason: str) -> None:
    found = verdict(**changes)
    assert not found.ok
    assert found.broken == [reason]


def test_what_the_play_itself_saw_broken_breaks_the_scenario() -> None:
    tale = well()
    tale.broke("the frozen process charged")
    assert verdict(tale=tale).broken == ["the frozen process charged"]


def test_a_run_that_did_not_come_to_its_end_is_not_ok() -> None:
    assert not verdict(tale=Tale(in_doubt=True)).ok


def test_an_answer_in_hand_and_not_spooled_may_be_asked_for_again_and_must_be() -> None:
    scenario = replace(SCENARIO, lost_answers=1)
    assert verdict(scenario=scenario, live=4).ok
    assert not verdict(scenario=scenario, live=3).ok


def test_every_agent_has_an_undisturbed_run_before_all_others() -> None:
    played = scenarios(list(AgentKind))
    for agent in AgentKind:
        assert next(scenario for scenario in played if scenario.agent is agent).play is Play.UNDISTURBED
    assert len({(scenario.agent, scenario.name) for scenario in played}) == len(played)


def test_a_point_holds_one_life_at_one_place_until_it_is_let_go(tmp_path: Path) -> None:
    points = Points(tmp_path, Point.INSIDE)
    points.reach(Point.BEFORE)
    assert not points.is_reached()
    points.let_go()
    points.reach(Point.INSIDE)
    assert points.is_reached()


def test_the_lake_is_read_by_a_process_that_knows_duckdb_alone(tmp_path: Path) -> None:
    home = _home(tmp_path)
    found = check_lake(home, [verdict()])
    assert (found.ok, found.broken) == (True, [])
    assert (found.runs, found.lives, found.model_calls, found.charges) == (1, 2, 2, 1)


def test_a_lake_that_says_otherwise_than_the_ledger_is_told(tmp_path: Path) -> None:
    home = _home(tmp_path)
    found = check_lake(home, [verdict(ledger=TWO)])
    assert found.broken == ["r-1 is done with 1 charges in the lake, and has 2 in the ledger"]


def test_a_run_that_is_not_in_the_lake_is_told(tmp_path: Path) -> None:
    home = _home(tmp_path)
    (home.lake / "views.sql").write_text(VIEWS.replace("'r-1', 'demo'", "'r-2', 'demo'"))
    found = check_lake(home, [verdict()])
    assert found.broken == ["r-1 is not in the lake"]


def test_a_lake_without_views_is_told(tmp_path: Path) -> None:
    (found,) = check_lake(Home(tmp_path), [verdict()]).broken
    assert found.startswith("the lake cannot be read with duckdb alone: ")


def _home(path: Path) -> Home:
    home = Home(path)
    home.lake.mkdir()
    (home.lake / "views.sql").write_text(VIEWS)
    return home

"""`livespan plan` of real runs: it is made, the program is started again, and what it does then is compared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.livespan_home import Died, LiveHome, wait_until
from tests.recovery.test_service import FAR, Holder

import livespan.instrumentation as ls
from livespan.collector.cli import livespan, run_command
from livespan.collector.settings import CollectorSettings
from livespan.proto.errors import RunStopped
from livespan.proto.rpc import open_channel
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import RecoveryStub

ran: list[str] = []
dying: set[str] = set()


@ls.tool
def charge(what: str) -> str:
    ran.append(what)
    if what in dying:
        raise Died
    return f"paid {what}"


@ls.tool(effect=False)
def look(what: str) -> str:
    ran.append(what)
    if what in dying:
        raise Died
    return f"saw {what}"


@ls.step
def think(what: str) -> str:
    ran.append(what)
    return what.upper()


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()
    dying.clear()


def planned(live: LiveHome, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = run_command(livespan, ["plan", *words, "-o", "json", "--home", str(live.home.root)])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def by_input(live: LiveHome, run_id: str, plan: Any) -> dict[str, list[str]]:
    """Return the decisions by what the calls were given, which tells them apart here; a try each."""
    history = live.inside.history(run_id)
    assert history is not None
    found: dict[str, list[str]] = {}
    for one in plan["decisions"]:
        if one["type"] != "BRANCH":
            newest, started = history.calls[bytes.fromhex(one["node_id"])]
            given = json.loads(live.inside.context.history.content(started or newest, "input"))
            found.setdefault(given["what"], []).append(one["decision"])
    return found


def first_life(live: LiveHome, run_id: str, program: Callable[[], None]) -> None:
    with pytest.raises(RunStopped), live.run(run_id):
        program()


def test_what_is_planned_is_what_a_resumed_run_does(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    def program() -> None:
        think("a")
        charge("b")
        with ls.branch("inner"):
            think("c")
            look("d")
        charge("e")

    dying.add("d")
    first_life(shared, "agrees", program)
    code, plan = planned(shared, capsys, "agrees")
    assert (code, plan["in_doubt"], plan["conflicts"], plan["tail_unknown"]) == (0, [], [], False)
    assert by_input(shared, "agrees", plan) == {"a": ["REUSE"], "b": ["SKIP"], "c": ["REUSE"], "d": ["REDO"]}
    ran.clear()
    dying.clear()
    with shared.run("agrees") as run:
        program()
        assert (run.reused, run.executed) == (3, 2)
    assert ran == ["d", "e"], "what was to be redone, and what had not been begun"
    code, plan = planned(shared, capsys, "agrees")
    assert code == 0
    assert {one["decision"] for one in plan["decisions"]} == {"REUSE", "SKIP"}
    assert plan["decisions"][0]["reason"].startswith("The run is finished")


def test_progress_of_a_life_that_died_while_resuming_is_in_the_next_plan(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    def program() -> None:
        for what in ("a", "b", "c"):
            look(what)

    for died_at, done in [
        ("b", {"a": ["REUSE"], "b": ["REDO"]}),
        ("c", {"a": ["REUSE"], "b": 2 * ["REUSE"], "c": ["REDO"]}),
    ]:
        dying.clear()
        dying.add(died_at)
        first_life(shared, "progress", program)
        _, plan = planned(shared, capsys, "progress")
        assert by_input(shared, "progress", plan) == done


def test_an_effect_in_doubt_on_one_branch_while_another_has_a_checkpoint(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    async def with_checkpoint(taken: asyncio.Event) -> None:
        think("a")
        ls.checkpoint(b"x" * 300)
        taken.set()
        await asyncio.sleep(30)

    async def in_flight(taken: asyncio.Event) -> None:
        await taken.wait()
        charge("b")

    async def program() -> None:
        async with shared.run("branches"):
            think("root")
            ls.checkpoint(b"y" * 200)
            taken = asyncio.Event()
            await asyncio.gather(with_checkpoint(taken), in_flight(taken))

    dying.add("b")
    with pytest.raises(RunStopped):
        asyncio.run(program())
    code, plan = planned(shared, capsys, "branches")
    assert code == 5
    names = {one["node_id"]: (one["name"], one["decision"]) for one in plan["decisions"]}
    assert [names[node] for node in plan["in_doubt"]] == [("charge", "IN_DOUBT")]
    states = {branch["scope"].rpartition(".<locals>.")[2]: branch["state_bytes"] for branch in plan["branches"]}
    assert states == {"/": 200, "with_checkpoint.0": 300, "in_flight.0": None}
    assert {names[branch["resume_node_id"]][1] for branch in plan["branches"] if branch["resume_node_id"]} == {
        "RESTORE"
    }
    ran.clear()
    with pytest.raises(RunStopped) as stopped:
        asyncio.run(program())
    assert plan["in_doubt"][0] in str(stopped.value), "the resumed run stops at that very node"
    assert ran == [], "everything else was answered"


def test_a_program_that_restores_goes_on_from_the_planned_checkpoint(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    def program(run: ls.Run) -> bytes | None:
        state = run.restore()
        for number in range(int(state or b"0"), 4):
            look(str(number))
            ls.checkpoint(b"%d" % (number + 1))
        return state

    dying.add("2")
    with pytest.raises(RunStopped), shared.run("restored") as run:
        program(run)
    _, plan = planned(shared, capsys, "restored")
    assert by_input(shared, "restored", plan) == {"0": ["REUSE"], "1": ["REUSE"], "2": ["REDO"]}
    ran.clear()
    dying.clear()
    with shared.run("restored") as run:
        [branch] = plan["branches"]
        assert branch["resume_node_id"] == run.state_node_id
        state = program(run)
        assert state is not None
        assert branch["state_bytes"] == len(state)
    assert ran == ["2", "3"]


def test_a_run_under_way_says_so_and_is_not_in_doubt(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    with shared.run("held"):
        think("a")
        code, plan = planned(shared, capsys, "held")
    assert code == 0
    assert "under way in a living process" in plan["decisions"][0]["reason"]


KILLED = """
import os
import livespan.instrumentation as ls

@ls.step
def think(what):
    print("thinking", flush=True)
    return what.upper()

@ls.tool
def charge(what):
    print("charging", flush=True)
    if os.environ.get("DIE"):
        os.kill(os.getpid(), 9)
    return "paid"

with ls.run("killed"):
    print(charge(think("a")), flush=True)
"""


def test_a_process_that_is_killed_in_an_effect_is_planned_settled_and_resumed(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    first = shared.program(KILLED, {"DIE": "1"})
    assert (first.returncode, first.stdout) == (-9, "thinking\ncharging\n")
    code, plan = planned(shared, capsys, "killed")
    assert code == 5
    assert [one["decision"] for one in plan["decisions"]] == ["REDO", "REUSE", "IN_DOUBT"]
    assert "was interrupted in attempt 1" in plan["decisions"][0]["reason"]
    [node] = plan["in_doubt"]
    settled = ["resolve", "killed", node, "--done", '"paid before"', "--home", str(shared.home.root)]
    assert run_command(livespan, settled) == 0
    code, plan = planned(shared, capsys, "killed")
    assert code == 0
    assert [one["decision"] for one in plan["decisions"]] == ["REDO", "REUSE", "SKIP"]
    assert shared.program(KILLED).stdout == "paid before\n", "nothing was run again"


def test_a_cancelled_run_says_so(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    dying.add("b")
    with pytest.raises(RunStopped), shared.run("cancelled"):
        look("b")
    assert run_command(livespan, ["cancel", "cancelled", "--home", str(shared.home.root)]) == 0
    _, plan = planned(shared, capsys, "cancelled")
    assert plan["decisions"][0]["reason"].startswith("The run was cancelled: it is not resumed")


def test_the_page_shows_branches_tree_and_how_to_settle_doubt(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    def program() -> None:
        think("a")
        ls.checkpoint(b"x" * 1234)
        charge("b")

    dying.add("b")
    first_life(shared, "page", program)
    capsys.readouterr()
    assert run_command(livespan, ["plan", "@last", "--home", str(shared.home.root)]) == 5
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "page  1 RESTORE, 1 REUSE, 1 IN_DOUBT"
    assert lines[3].split() == ["/", lines[3].split()[1], "1,234", "bytes"]
    assert any(line.startswith("├─ PROMPT think  REUSE") for line in lines)
    assert any(line.startswith("└─ TOOL charge   IN_DOUBT  It was started and never heard of again") for line in lines)
    assert any("livespan resolve" in line and line.endswith("--not-done") for line in lines)
    assert run_command(livespan, ["plan", "page", "-o", "jsonl", "--home", str(shared.home.root)]) == 5
    first, *rest = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(first["plan"]) == ["run_id", "found", "branches", "in_doubt", "conflicts", "tail_unknown"]
    assert [one["decision"]["decision"] for one in rest] == ["RESTORE", "REUSE", "IN_DOUBT"]


def test_the_json_is_the_documented_contract(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    with shared.run("contract"):
        think("a")
    _, plan = planned(shared, capsys, "contract")
    assert list(plan) == ["run_id", "found", "branches", "decisions", "in_doubt", "conflicts", "tail_unknown"]
    assert list(plan["branches"][0]) == ["scope", "resume_node_id", "state_bytes"]
    assert list(plan["decisions"][0]) == ["node_id", "type", "name", "decision", "reason"]


def test_a_run_that_is_not_there_is_not_found(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    assert planned(shared, capsys, "nobody") == (3, None)
    with open_channel(f"unix:{shared.home.root}/collector.sock") as channel:
        reply = RecoveryStub(channel).Plan(pb.PlanRequest(run=pb.RunRef(project="p", run_id="nobody")), timeout=10)
    assert json.loads(reply.json) == {
        "run_id": "nobody",
        "found": False,
        "branches": [],
        "decisions": [],
        "in_doubt": [],
        "conflicts": [],
        "tail_unknown": False,
    }


def test_a_life_that_died_with_a_spool_elsewhere_has_an_unknown_tail(
    live: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    live.serve(CollectorSettings(lease_s=0.3, publish_s=0.5))
    with open_channel(f"unix:{live.home.root}/collector.sock") as channel:
        Holder(channel, FAR, run_id="far").ask()
        wait_until(lambda: not live.inside.leases)
        assert planned(live, capsys, "far")[1]["tail_unknown"]


def test_the_plan_of_a_cancelled_run_says_first_that_nothing_of_it_is_done(
    live: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    live.serve()
    dying.add("stock")
    with pytest.raises(RunStopped), live.run("given up"):
        think("plan")
        look("stock")
    home = ["--home", str(live.home.root)]
    run_command(livespan, ["plan", "given up", *home])
    assert "cancelled" not in capsys.readouterr().out
    assert run_command(livespan, ["cancel", "given up", *home]) == 0
    capsys.readouterr()
    assert run_command(livespan, ["plan", "given up", *home]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("The run was cancelled: nothing of this is done.")

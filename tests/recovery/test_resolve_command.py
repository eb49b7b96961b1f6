from __future__ import annotations

import json

import pytest
from tests.livespan_home import Died, LiveHome

import livespan.instrumentation as ls
from livespan.collector.cli import livespan, run_command
from livespan.proto.errors import RunStopped

ran: list[int] = []


@ls.tool
def charge(cents: int) -> dict[str, int]:
    ran.append(cents)
    if len(ran) == 1:
        raise Died
    return {"paid": cents}


@ls.step
def think() -> int:
    return 1


def in_doubt(live: LiveHome, run_id: str) -> str:
    """Leave an effect of a run in doubt and return its node."""
    ran.clear()
    with pytest.raises(RunStopped), live.run(run_id):
        think()
        charge(7)
    [node] = {record.node_id.hex() for record in live.records(run_id) if record.name == "charge"}
    return node


def resolve(live: LiveHome, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run_command(livespan, ["resolve", *words, "--home", str(live.home.root)])
    out, err = capsys.readouterr()
    return code, out, err


def test_an_effect_that_happened_is_answered_as_was_said(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    node = in_doubt(shared, "done")
    code, out, err = resolve(shared, capsys, "done", node[:6], "--done", '{"paid": 42}')
    assert (code, out) == (0, ""), err
    assert f"{node} of done is settled: done" in err
    with shared.run("done"):
        think()
        assert charge(7) == {"paid": 42}
    assert ran == [7]


def test_an_effect_that_did_not_happen_runs(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    node = in_doubt(shared, "not done")
    code, out, _ = resolve(shared, capsys, "not done", node, "--not-done", "-o", "jsonl")
    assert code == 0
    [line] = out.splitlines()
    assert json.loads(line) == {"run_id": "not done", "node_id": node, "done": False}
    with shared.run("not done"):
        think()
        assert charge(7) == {"paid": 7}
    assert ran == [7, 7]


def test_what_cannot_be_settled_is_refused_with_its_exit_code(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    node = in_doubt(shared, "refused")
    [thought] = {record.node_id.hex() for record in shared.records("refused") if record.name == "think"}
    for words, code, said in [
        (("refused", node), 2, "either --done JSON or --not-done"),
        (("refused", node, "--done", "1", "--not-done"), 2, "either --done JSON or --not-done"),
        (("refused", node, "--done", "{no json"), 2, "not JSON"),
        (("refused", "ffffffffffffffff", "--not-done"), 3, "no node"),
        (("nobody", node, "--not-done"), 3, "no such run"),
        (("refused", thought, "--not-done"), 5, "no effect"),
        (("refused",), 2, "Missing argument"),
    ]:
        told = resolve(shared, capsys, *words)
        assert told[0] == code, told
        assert said in told[2]
    assert resolve(shared, capsys, "refused", node, "--not-done")[0] == 0
    assert resolve(shared, capsys, "refused", node, "--not-done")[0] == 5


def test_a_run_that_is_open_is_not_settled(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    node = in_doubt(shared, "open")
    with pytest.raises(RunStopped), shared.run("open"):
        code, _, err = resolve(shared, capsys, "open", node, "--not-done")
        assert (code, "living process" in err) == (5, True)
        think()
        charge(7)

"""Places where the journal cannot be kept: a clear error with a way out, nothing acknowledged lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.crash.stage import ROOT, Stage, wait_until

import livespan.instrumentation as ls
from livespan.proto.errors import LivespanError
from livespan.replay.testing import ledger

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]

NAMESPACES = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def own_mounts() -> None:
    """Skip where nobody may mount; in CI, and as root, that is a failure: there it must have been tried."""
    if NAMESPACES:
        return
    reason = "needs mount namespaces (unshare -rm)"
    if os.geteuid() == 0 or os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "s")
    yield made
    made.close()


def in_own_mounts(what: str, folder: Path) -> str:
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-m", "tests.crash.bad_disk", what, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=220,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.usefixtures("own_mounts")
def test_on_a_full_disk_runs_go_on_or_are_stopped_and_come_out_right_once_there_is_room(tmp_path: Path) -> None:
    assert "compared" in in_own_mounts("full", tmp_path)


@pytest.mark.usefixtures("own_mounts")
def test_where_the_log_finds_no_room_for_a_segment_effects_are_refused_and_go_on_once_there_is(tmp_path: Path) -> None:
    assert "compared 40" in in_own_mounts("full-log", tmp_path)


@pytest.mark.usefixtures("own_mounts")
def test_a_home_on_a_read_only_mount_is_refused_with_a_way_out(tmp_path: Path) -> None:
    said = in_own_mounts("read-only", tmp_path)
    assert said.lower().count("read-only file system") >= 2


def narrow_agent(stage: Stage) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.narrow_agent", str(stage.home.root), str(stage.folder / "ledger")],
        env={**os.environ, "LIVESPAN_SPOOL_MAX_BYTES": str(4 << 20)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        cwd=ROOT,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_full_spool_lets_model_calls_go_on_refuses_checkpoints_and_starts_no_effect(stage: Stage) -> None:
    stage.start_all()
    request = stage.pause("drain", "drain.before_send", 1)  # nothing is acknowledged, so nothing makes room

    code, met = narrow_agent(stage)

    assert request.reached
    assert met["answers"] == 450, "calls that found no room went on, unrecorded"
    assert 20 < met["unrecorded"] < 300
    assert met["longest_s"] < 1.0, "the wait for room is bounded by the budget"
    assert "room" in met["checkpoint"]
    assert code == 5
    assert met["stopped"].startswith("EffectUnavailable")
    assert ledger.read(stage.folder / "ledger").tries == ()

    request.withdraw()
    assert wait_until(lambda: not stage.unsent(), 30)
    code, met = narrow_agent(stage)

    assert (code, met["stopped"]) == (0, "")
    assert met["attempt"] == 2
    assert met["reused"] > 10, "what was recorded is not paid for again"
    assert len(ledger.read(stage.folder / "ledger").tries) == 1


@pytest.mark.parametrize("endpoint", ["unix:/nowhere/collector.sock", "http://127.0.0.1:9"])
def test_a_run_is_not_opened_where_the_endpoint_cannot_be_reached(stage: Stage, endpoint: str) -> None:
    with pytest.raises(ls.Unavailable) as caught, ls.run("far", home=stage.home.root, endpoint=endpoint):
        pytest.fail("a run that nobody records was opened")

    assert "livespan doctor" in caught.value.hint


def test_a_home_that_is_a_file_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")

    with pytest.raises(LivespanError) as caught, ls.run("r", home=tmp_path / "home"):
        pytest.fail("a run was opened in a file")

    assert "LIVESPAN_HOME" in str(caught.value)

"""Holders in other pid namespaces, as agents in other containers are."""

from __future__ import annotations

import fcntl
import multiprocessing
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import grpc
import pytest
from tests.livespan_home import LiveHome
from tests.recovery.test_service import FAR, Holder, channel

from livespan.collector.settings import CollectorSettings
from livespan.proto.process import this_process
from livespan.recovery.distant_holder import DistantHolders

__all__ = ["channel"]

HERE = this_process()
DISTANT = replace(HERE, pid_namespace=1)
SPAWN = multiprocessing.get_context("spawn")


def keep(path: Path, locked: Event, end: Event) -> None:
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        locked.set()
        end.wait(30)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "f-1").mkdir()
    (tmp_path / "id").write_text("spool")
    (tmp_path / "f-1" / "lock").touch()
    return tmp_path


def test_a_holder_is_dead_when_the_kernel_has_dropped_its_lock(spool: Path) -> None:
    locked, end = SPAWN.Event(), SPAWN.Event()
    holder = SPAWN.Process(target=keep, args=(spool / "f-1" / "lock", locked, end))
    holder.start()
    assert locked.wait(30)
    holders = DistantHolders(spool)
    assert not holders.is_dead(DISTANT, "spool", "f-1")
    holder.kill()
    holder.join()
    assert holders.is_dead(DISTANT, "spool", "f-1")


def test_a_holder_is_dead_when_its_folder_was_cleared_away(spool: Path) -> None:
    shutil.rmtree(spool / "f-1")
    assert DistantHolders(spool).is_dead(DISTANT, "spool", "f-1")


@pytest.mark.parametrize(
    ("boot_id", "spool_id", "lock"),
    [
        pytest.param("another kernel", "spool", "f-1", id="its locks are another kernel's"),
        pytest.param(HERE.boot_id, "another", "f-1", id="it has another spool"),
        pytest.param(HERE.boot_id, "spool", "", id="it has told no lock"),
        pytest.param(HERE.boot_id, "spool", "../f-1", id="it names a place outside"),
        pytest.param(HERE.boot_id, "spool", "..", id="it names the home"),
    ],
)
def test_what_is_not_certain_is_no_death(spool: Path, boot_id: str, spool_id: str, lock: str) -> None:
    assert not DistantHolders(spool).is_dead(replace(DISTANT, boot_id=boot_id), spool_id, lock)


def test_without_a_spool_of_the_homes_nothing_is_certain(tmp_path: Path) -> None:
    assert not DistantHolders(tmp_path / "none").is_dead(DISTANT, "spool", "f-1")


AGENT = """
import os, signal, sys
import livespan.instrumentation as ls

@ls.tool
def charge(cents):
    return cents

with ls.run("order"):
    print("charged", charge(1), flush=True)
    if len(sys.argv) > 1:
        sys.stdin.readline()
print("end", flush=True)
"""


@pytest.fixture
def contained(live: LiveHome, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the agent in a pid namespace of its own, as in a container."""
    tool = shutil.which("unshare")
    words = [tool or "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if tool is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may make no pid namespaces")
    program = tmp_path / "agent.py"
    program.write_text(AGENT)

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [*words, sys.executable, str(program), *arguments]
        return live.start("-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])", *command)

    return start


def test_an_agent_killed_in_another_container_is_followed_at_once(
    live: LiveHome, contained: Callable[..., subprocess.Popen[str]]
) -> None:
    live.serve()
    first = contained("wait")
    assert first.stdout is not None
    assert first.stdout.readline() == "charged 1\n"
    held = contained()
    assert "RunHeld" in held.communicate(timeout=30)[1]
    first.kill()
    first.communicate()
    began_s = time.monotonic()
    second = contained()
    out, err = second.communicate(timeout=30)
    assert (second.returncode, out) == (0, "charged 1\nend\n"), err
    assert time.monotonic() - began_s < 10.0, "it waited for the lease"
    assert "1 of 1 steps reused" in err


def test_a_supervisor_waits_for_a_holder_that_it_cannot_see(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve(CollectorSettings(lease_s=3.0, publish_s=0.5))
    gone = Holder(channel, FAR, "moved")
    gone.ask()
    source = "import livespan.instrumentation as ls\nwith ls.run(): pass"
    words = ("run", "--id", "moved", "--project", "p", "--", sys.executable, "-c", source)
    supervisor = live.start("-m", "livespan.collector", *words)
    _, err = supervisor.communicate(timeout=60)
    gone.end()
    assert supervisor.returncode == 0, err
    assert "which cannot be seen from here" in err

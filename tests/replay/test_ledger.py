"""The provider that is a file: who charges how often, under every order of deaths and rivals."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from livespan.proto.errors import Damaged
from livespan.replay.testing.ledger import Ledger, charge, find, read

RIVAL = """
import sys
from pathlib import Path
from livespan.replay.testing.ledger import charge
for number in range(int(sys.argv[2])):
    charge(Path(sys.argv[1]), 100, f"key-{number}", honours_keys=sys.argv[3] == "yes")
"""

DIES = """
import os, signal, sys
from pathlib import Path
from livespan.replay.testing.ledger import charge
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
charge(Path(sys.argv[1]), 4200, "k", honours_keys=True, **{sys.argv[2]: die})
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "charges.jsonl"


def test_an_absent_ledger_is_an_empty_one(path: Path) -> None:
    assert read(path) == Ledger()
    assert find(path, "k") is None


def test_a_provider_that_honours_keys_gives_the_first_receipt_again(path: Path) -> None:
    first = charge(path, 4200, "k", honours_keys=True)
    second = charge(path, 4200, "k", honours_keys=True)
    assert first["charged"]
    assert second == {**first, "charged": False}
    ledger = read(path)
    assert (len(ledger.tries), len(ledger.charges), ledger.cents) == (2, 1, 4200)


def test_a_provider_that_ignores_keys_charges_every_time(path: Path) -> None:
    first = charge(path, 4200, "k", honours_keys=False)
    second = charge(path, 4200, "k", honours_keys=False)
    assert first["receipt"] != second["receipt"]
    assert read(path).cents == 8400


def test_other_keys_are_other_charges_and_no_key_is_never_the_same_charge(path: Path) -> None:
    for key in ("a", "b", "", ""):
        assert charge(path, 1, key, honours_keys=True)["charged"]
    assert find(path, "") is None


def test_a_probe_finds_the_charge_and_its_receipt(path: Path) -> None:
    made = charge(path, 4200, "k", honours_keys=False)
    assert find(path, "k") == made
    assert find(path, "other") is None


def test_the_hooks_run_on_either_side_of_the_write(path: Path) -> None:
    seen: list[int] = []

    def look() -> None:
        seen.append(len(read(path).tries))

    charge(path, 1, "k", honours_keys=True, before=look, after=look)
    assert seen == [0, 1]


@pytest.mark.parametrize(("hook", "tries"), [("before", 0), ("after", 1)])
def test_a_try_that_is_killed_leaves_no_lock_and_no_half_line(path: Path, hook: str, tries: int) -> None:
    dead = subprocess.run([sys.executable, "-c", DIES, str(path), hook], check=False, timeout=60)
    assert dead.returncode == -signal.SIGKILL
    assert len(read(path).tries) == tries
    assert charge(path, 4200, "k", honours_keys=True)["charged"] == (tries == 0)
    assert len(read(path).charges) == 1


@pytest.mark.parametrize(("honours", "charges"), [("yes", 40), ("no", 120)])
def test_rival_processes_charge_each_key_once_where_keys_are_honoured(path: Path, honours: str, charges: int) -> None:
    command = [sys.executable, "-c", RIVAL, str(path), "40", honours]
    rivals = [subprocess.Popen(command) for _ in range(3)]
    assert [rival.wait(60) for rival in rivals] == [0, 0, 0]
    ledger = read(path)
    assert (len(ledger.tries), len(ledger.charges)) == (120, charges)


def test_rival_threads_charge_one_key_once(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(charge, path, 5, "k", honours_keys=True) for _ in range(40)]
    made = [one.result() for one in tries]
    assert len({one["receipt"] for one in made}) == 1
    assert read(path).cents == 5


def test_a_damaged_line_is_named_by_its_number(path: Path) -> None:
    charge(path, 5, "k", honours_keys=True)
    with path.open("ab") as file:
        file.write(b'{"key": "torn\n')
    with pytest.raises(Damaged) as caught:
        read(path)
    assert caught.value.subject == f"{path}:2"


def test_the_ledger_is_its_owners_alone(path: Path) -> None:
    charge(path, 5, "k", honours_keys=True)
    assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("honours", [True, False])
def test_only_a_provider_that_looks_first_waits_for_its_rival(path: Path, honours: bool) -> None:
    path.touch()
    with path.open("rb") as rival, ThreadPoolExecutor(1) as pool:
        fcntl.flock(rival, fcntl.LOCK_EX)
        trying = pool.submit(charge, path, 5, "k", honours_keys=honours)
        done, _ = wait([trying], timeout=0.2)
        assert bool(done) is not honours
        fcntl.flock(rival, fcntl.LOCK_UN)
        assert trying.result(10)["charged"]

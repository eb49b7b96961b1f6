from __future__ import annotations

import json
import os
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tests.collector.query_server import serving
from tests.collector.recorded import FixedLake

from livespan.collector import checks, clock_checks
from livespan.collector.checks import check, check_collector
from livespan.collector.cli import livespan, run_command
from livespan.collector.clock_checks import check_clocks, collector_clock
from livespan.collector.commands import doctor
from livespan.proto.clock import wall_ns
from livespan.proto.finding import Finding
from livespan.proto.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("LIVESPAN_ENDPOINT", raising=False)
    made = Home(tmp_path / "home")
    made.create()
    return made


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the doctor see these checks of this module alone."""
    points = [EntryPoint(name, f"{__name__}:{name}", doctor.CHECKS) for name in names]

    def load(point: EntryPoint) -> object:
        return globals()[point.name]

    def listed(group: str) -> list[EntryPoint]:
        return points if group == doctor.CHECKS else []

    monkeypatch.setattr(EntryPoint, "load", load)
    monkeypatch.setattr(doctor, "entry_points", listed)


def well(_home: Home) -> Iterable[Finding]:
    yield Finding("thing", True, "is well")


def worth_knowing(_home: Home) -> Iterable[Finding]:
    yield Finding("thing", None, "might be better", "Do this.")


def faulty(_home: Home) -> Iterable[Finding]:
    yield Finding("thing", False, "is broken", "Mend it.")


def buggy(_home: Home) -> Iterable[Finding]:
    raise ValueError("a bug")


def by_name(home: Home) -> dict[str, Finding]:
    return {finding.name: finding for finding in check(home)}


def test_a_good_home_without_a_collector_has_no_fault_and_starts_none(home: Home) -> None:
    found = by_name(home)
    assert [name for name, finding in found.items() if finding.ok is False] == []
    assert found["home"].ok
    assert "none runs" in found["collector"].detail
    assert sorted(os.listdir(home.root)) == ["spool"]


def test_a_home_that_others_may_write_to_is_a_fault(home: Home) -> None:
    home.root.chmod(0o777)
    assert by_name(home)["home"].ok is False
    assert "chmod 700" in by_name(home)["home"].hint


def test_a_file_system_that_forgets_is_worth_knowing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:

    def warning(_home: Home) -> str:
        return "the home lies on tmpfs: a reboot empties it"

    monkeypatch.setattr(Home, "warning", warning)
    assert by_name(home)["file system"].ok is None


def test_a_full_disk_is_a_fault(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_LEAST_FREE_BYTES", 1 << 60)
    assert by_name(home)["disk"].ok is False


def test_missing_packages_are_said_with_the_pip_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_PACKAGES", ("surely-not-installed",))
    assert "pip install 'livespan[collector]'" in by_name(home)["packages"].hint


def test_a_dead_collectors_address_is_told_from_none(home: Home) -> None:
    home.address.write_text(
        '{"pid":1,"start_time_ticks":1,"boot_id":"x","pid_namespace":1,"host":"h","version":1,"target":"unix:/x"}'
    )
    assert "died" in by_name(home)["collector"].detail


def test_a_collectors_status_is_shown_with_units(tmp_path: Path) -> None:
    status: dict[str, object] = {
        "version": "0.1.0",
        "uptime_s": 90.0,
        "log": {"bytes": 2048, "records": 7},
        "leases": [{"run_id": "order-17"}, {"run_id": "order-18"}],
        "backlog": [],
    }
    with serving(FixedLake(), tmp_path, status=status) as served:
        found = {finding.name: finding.detail for finding in check_collector(served.target)}
    assert found["uptime"] == "1 min 30 s"
    assert found["log"] == "bytes 2.0 KB, records 7"
    assert found["leases"] == "run id order-17; run id order-18"
    assert found["backlog"] == "none"


def test_a_collector_that_does_not_answer_is_a_fault(tmp_path: Path) -> None:
    [finding] = check_collector(f"unix:{tmp_path}/nobody.sock")
    assert finding.ok is False


def test_the_exit_code_says_whether_something_is_at_fault(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only(monkeypatch, "well", "worth_knowing")
    assert run_command(livespan, ["doctor", "--home", str(home.root)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "well",
        "  ok    thing  is well",
        "",
        "worth_knowing",
        "  note  thing  might be better",
        "               Do this.",
    ]
    only(monkeypatch, "faulty", "well")
    assert run_command(livespan, ["doctor", "--home", str(home.root), "-o", "json"]) == 1
    told = capsys.readouterr()
    assert [one["ok"] for one in json.loads(told.out)] == [False, True]
    assert "1 check failed" in told.err


def test_a_check_that_breaks_does_not_hide_the_others(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only(monkeypatch, "buggy", "well")
    assert run_command(livespan, ["doctor", "--home", str(home.root), "-o", "jsonl"]) == 1
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "ValueError: a bug" in first["detail"]
    assert second["ok"] is True


def test_where_there_is_no_home_yet_the_place_for_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LIVESPAN_ENDPOINT", raising=False)
    missing = tmp_path / "a" / "b" / "home"
    assert run_command(livespan, ["doctor", "--home", str(missing), "-o", "json"]) == 0
    told = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert "not there yet" in told["home"]["detail"]
    assert "free" in told["disk"]["detail"]
    assert told["file system"]["detail"] != "unknown"
    assert not (tmp_path / "a").exists()


def test_a_folder_of_something_else_is_no_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert run_command(livespan, ["doctor", "--home", str(tmp_path)]) == 3
    assert "no home of Livespan" in capsys.readouterr().err


def test_a_disk_without_inodes_is_a_fault(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_LEAST_FREE_INODES", 1 << 60)
    finding = by_name(home)["disk"]
    if os.statvfs(home.root).f_files:
        assert (finding.ok, "inodes" in finding.detail) == (False, True)


def test_a_sidecar_of_another_version_or_with_another_clock_is_told(tmp_path: Path) -> None:
    status: dict[str, object] = {"version": "9.9.9", "wall_ns": wall_ns() - 3_600_000_000_000}
    with serving(FixedLake(), tmp_path, status=status) as served:
        found = {finding.name: finding for finding in check_collector(served.target)}
    assert (found["version"].ok, "9.9.9" in found["version"].detail) == (None, True)
    assert found["collector's clock"].ok is None
    assert "3600.0 s behind ours" in found["collector's clock"].detail
    assert "wall ns" not in found


def test_clocks_that_agree_are_well() -> None:
    assert collector_clock(1_000_000_000, 900_000_000, 1_100_000_000).ok
    assert collector_clock(5_000_000_000, 0, 1_000_000_000).detail == "is 4.0 s ahead of ours"


def test_a_file_of_the_future_says_that_the_clock_went_back(home: Home) -> None:
    path = home.root / "collector.log"
    path.write_text("")
    later_s = wall_ns() / 1e9 + 86_400
    os.utime(path, (later_s, later_s))
    [finding] = check_clocks(home)
    assert (finding.ok, str(path) in finding.detail) == (None, True)


def test_a_clock_before_the_installation_is_a_fault(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_checks, "wall_ns", lambda: 86_400_000_000_000)
    [finding] = check_clocks(home)
    assert (finding.ok, "1970-01-02" in finding.detail) == (False, True)


@pytest.mark.parametrize(("is_there", "well"), [(True, True), (False, None)])
def test_a_kernel_without_landlock_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch, is_there: bool, well: bool | None
) -> None:
    monkeypatch.setattr(checks, "has_file_wall", lambda: is_there)
    found = by_name(home)["landlock"]
    assert found.ok is well
    assert bool(found.hint) is not is_there


def test_of_very_many_faults_ten_are_told_one_by_one(tmp_path: Path) -> None:
    faults = [{"where": "log", "what": f"/x/1.seg@{at}: damaged", "hint": "Look."} for at in range(14)]
    with serving(FixedLake(), tmp_path, status={"version": "0", "faults": faults}) as served:
        found = [finding for finding in check_collector(served.target) if finding.ok is False]
    assert [finding.name for finding in found] == ["log"] * 10 + ["more"]
    assert found[-1].detail == "4 more faults"

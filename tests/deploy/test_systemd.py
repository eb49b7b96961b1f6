from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.deploy.manifests import DEPLOY

pytestmark = pytest.mark.outside

COLLECTOR = DEPLOY / "systemd" / "livespan-collector.service"
AGENT = DEPLOY / "systemd" / "livespan-agent@.service"


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    assert tool is not None, "systemd-analyze is not installed: make deploy-tools"
    return subprocess.run([tool, *words], capture_output=True, text=True, check=False)


def installed(tmp_path: Path, change: tuple[str, str] = ("", "")) -> list[str]:
    """Return the units as they would be found, with programs that are here."""
    found: list[str] = []
    for path, program in ((COLLECTOR, "/opt/livespan/bin/livespan"), (AGENT, "/opt/agents/%i/.venv/bin/python")):
        text = path.read_text()
        assert program in text
        name = path.name.replace("@", "@one")
        (tmp_path / name).write_text(
            text.replace(program, "/usr/bin/env").replace(*change)
            if change[0]
            else text.replace(program, "/usr/bin/env")
        )
        found.append(str(tmp_path / name))
    return found


def settings(path: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case; the stub allows no plain function
    parser.read(path)
    return parser["Service"]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    verified = analyze("verify", "--man=no", *installed(tmp_path))
    assert (verified.returncode, verified.stderr) == (0, "")


def test_systemd_refuses_a_setting_that_it_does_not_know(tmp_path: Path) -> None:
    verified = analyze("verify", "--man=no", *installed(tmp_path, ("KillMode=mixed", "KillMode=gently")))
    assert "kill mode" in verified.stderr


def test_the_collectors_service_is_hardened(tmp_path: Path) -> None:
    unit = installed(tmp_path)[0]
    judged = analyze("security", "--offline=true", "--threshold=30", "--no-pager", unit)
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("KillMode", "mixed"),
        ("Restart", "always"),
        ("StateDirectoryMode", "0700"),
        ("RestartPreventExitStatus", "2 5"),
    ],
)
def test_the_collector_is_run_so(name: str, value: str) -> None:
    assert settings(COLLECTOR)[name] == value


def test_the_drain_of_an_agent_outlives_it() -> None:
    assert settings(AGENT)["KillMode"] == "process"
    assert settings(AGENT)["OOMPolicy"] == "continue"
    assert settings(AGENT)["User"] == settings(COLLECTOR)["User"]


def test_nothing_hides_the_agents_processes_from_the_collector() -> None:
    told = settings(COLLECTOR)
    assert not {"ProtectProc", "PrivateUsers", "PrivatePIDs", "PrivateNetwork"} & set(told)

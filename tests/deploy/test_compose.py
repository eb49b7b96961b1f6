from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.manifests import DEPLOY, ROOT, documents

pytestmark = pytest.mark.outside

COMPOSE = DEPLOY / "docker-compose.yml"


def config(path: Path) -> subprocess.CompletedProcess[str]:
    """Have the tool itself read a file; it needs no engine for that."""
    tool = shutil.which("docker-compose")
    assert tool is not None, "docker-compose is not installed: make deploy-tools"
    return subprocess.run([tool, "-f", str(path), "config"], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    [document] = documents(COMPOSE)
    found: dict[str, Any] = document["services"]
    return found


def test_the_tool_takes_the_file(tmp_path: Path) -> None:
    read = config(COMPOSE)
    assert read.returncode == 0, read.stderr
    resolved = tmp_path / "resolved.yml"
    resolved.write_text(read.stdout)
    [document] = documents(resolved)
    assert set(document["services"]) == {"agent", "collector"}


def test_the_tool_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace"))
    assert config(broken).returncode != 0


def test_both_services_share_the_home_and_are_hardened(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["user"] == "65532:65532"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["volumes"] == ["livespan:/var/lib/livespan"]
        assert (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == (
            ROOT / "deploy" / "Dockerfile"
        )


def test_the_agent_waits_for_the_collector_and_does_not_end_with_it(services: dict[str, Any]) -> None:
    agent = services["agent"]
    assert agent["depends_on"] == {"collector": {"condition": "service_healthy"}}
    assert "pid" not in agent, "a pid namespace ends with its first process, the collector's"


def test_signals_reach_what_is_not_the_first_process(services: dict[str, Any]) -> None:
    assert all(service["init"] is True for service in services.values())


def test_the_agent_is_told_where_the_collector_of_the_shared_home_is(services: dict[str, Any]) -> None:
    home = "/var/lib/livespan/home"
    assert f"LIVESPAN_HOME={home} " in (DEPLOY / "Dockerfile").read_text()
    assert services["agent"]["environment"] == {"LIVESPAN_ENDPOINT": f"unix:{home}/collector.sock"}

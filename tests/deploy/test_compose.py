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


def test_the_agent_waits_for_a_collector_that_sees_its_processes(services: dict[str, Any]) -> None:
    agent = services["agent"]
    assert agent["depends_on"] == {"collector": {"condition": "service_healthy"}}
    assert agent["pid"] == "service:collector"

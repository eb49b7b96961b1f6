from __future__ import annotations

import io
import json
from importlib import import_module
from typing import Any, NamedTuple

import pytest
from tests.deploy.manifests import DEPLOY, ROOT

pytestmark = pytest.mark.outside


class Step(NamedTuple):
    """One instruction."""

    name: str
    value: str


def stages() -> dict[str, list[Step]]:
    """Return the instructions of each stage by its name."""
    library: Any = import_module("dockerfile_parse")  # it has no types
    parser = library.DockerfileParser(fileobj=io.BytesIO((DEPLOY / "Dockerfile").read_bytes()))
    found: dict[str, list[Step]] = {}
    for one in parser.structure:
        step = Step(one["instruction"], one["value"])
        if step.name == "FROM":
            found[step.value.split(" AS ")[1]] = []
        if step.name != "COMMENT":
            found[list(found)[-1]].append(step)
    return found


def values(steps: list[Step], name: str) -> list[str]:
    return [step.value for step in steps if step.name == name]


def test_the_last_stage_is_the_collector_on_the_hardened_base() -> None:
    found = stages()
    assert list(found) == ["build", "base", "agent", "collector"]
    assert values(found["collector"], "FROM") == ["base AS collector"]
    assert values(found["agent"], "FROM") == ["base AS agent"]


def test_nothing_runs_as_root_and_no_later_stage_takes_that_back() -> None:
    found = stages()
    assert values(found["base"], "USER") == ["65532:65532"]
    assert found["base"][-1].name == "USER"
    for name in ("agent", "collector"):
        assert values(found[name], "USER") == []
        assert values(found[name], "RUN") == []


def test_bases_are_pinned_to_a_version_and_nothing_is_fetched_unseen() -> None:
    for steps in stages().values():
        for base in values(steps, "FROM"):
            image = base.split(" AS ")[0]
            assert image == "base" or (image.startswith("python:3.11-slim-") and "latest" not in image)
        assert values(steps, "ADD") == []
        assert not any("curl" in run or "wget" in run for run in values(steps, "RUN"))


def test_every_file_that_is_copied_is_there_and_let_through() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for steps in stages().values():
        for copy in values(steps, "COPY"):
            if copy.startswith("--from="):
                continue
            for source in copy.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(f"!{source}".startswith(line) for line in ignore if line.startswith("!")), source


def test_what_the_project_needs_to_be_built_is_copied() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = {source for copy in values(stages()["build"], "COPY") for source in copy.split()[:-1]}
    wanted = {
        package.partition("/")[0] for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    }
    assert wanted | {"pyproject.toml", project["project"]["readme"]} <= copied


def test_the_collector_says_how_it_is_and_how_it_is_asked_to_leave() -> None:
    collector = stages()["collector"]
    [health] = values(collector, "HEALTHCHECK")
    assert json.loads(health.partition("CMD ")[2]) == ["python", "-m", "livespan.collector.probe", "ready"]
    assert values(collector, "STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(values(collector, "ENTRYPOINT")[0]) == ["livespan"]


@pytest.mark.parametrize("stage", ["agent", "collector"])
def test_commands_are_lists_so_that_signals_reach_the_program(stage: str) -> None:
    for name in ("CMD", "ENTRYPOINT"):
        for value in values(stages()[stage], name):
            assert isinstance(json.loads(value), list)


def test_the_home_is_a_folder_in_the_volume() -> None:
    base = stages()["base"]
    [volume] = values(base, "VOLUME")
    [environment] = values(base, "ENV")
    assert f"LIVESPAN_HOME={volume}/home" in environment

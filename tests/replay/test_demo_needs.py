"""What `livespan demo` needs is what the extra brings, and what it says where it is missing."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from livespan.replay import commands
from livespan.replay.demo.showing import this_command

ROOT = Path(__file__).parents[2]
OF_THE_COLLECTOR = ("deltalake", "duckdb", "google.rpc", "grpc_health", "pyarrow", "pytz", "rich")
OF_LANGGRAPH = ("langchain", "langchain_core", "langchain_openai", "langgraph", "pydantic")


def demo_without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as if `module` were not installed."""
    code = (
        "import sys\n"
        f"sys.modules[{module!r}] = None\n"
        "from livespan.collector.cli import livespan, run_command\n"
        "sys.exit(run_command(livespan, sys.argv[1:]))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def requirement_names(listed: list[str]) -> set[str]:
    return {normal(name) for line in listed for name in re.findall(r"^[\w.-]+", line)}


def imported_packages(folder: Path) -> set[str]:
    """Return the modules of others that a folder's modules import, anywhere in them."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for statement in ast.walk(ast.parse(path.read_text())):
            if isinstance(statement, ast.Import):
                found |= {alias.name for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom) and statement.level == 0 and statement.module:
                found.add(statement.module)
    return {
        name
        for name in found
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith("livespan")
    }


@pytest.mark.parametrize("module", [*OF_THE_COLLECTOR, *OF_LANGGRAPH])
def test_a_demo_that_lacks_a_package_says_which_and_what_to_install(module: str, tmp_path: Path) -> None:
    ended = demo_without(module, "demo", "--home", str(tmp_path / "home"))
    assert ended.returncode == 4, ended.stderr
    assert ended.stdout == ""
    assert f"not installed: {module}\n" in ended.stderr
    assert "pip install 'livespan[demo]'" in ended.stderr
    assert not (tmp_path / "home").exists()


def test_what_the_demo_asks_for_is_the_whole_list() -> None:
    assert (*commands._NEEDED, *commands._NEEDED_BY_LANGGRAPH) == (*OF_THE_COLLECTOR, *OF_LANGGRAPH)  # pyright: ignore[reportPrivateUsage]  # the list itself


@pytest.mark.parametrize("module", ["duckdb", "deltalake", "grpc_health"])
def test_a_collector_that_lacks_a_package_says_which_and_what_to_install(module: str, tmp_path: Path) -> None:
    ended = demo_without(module, "serve", "--home", str(tmp_path / "home"))
    assert ended.returncode == 4, ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"{module} is not installed" in ended.stderr or f"{module}.v1 is not installed" in ended.stderr
    assert "pip install 'livespan[collector]'" in ended.stderr


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("proto/livespan", ()),
        ("collector/livespan", ("collector",)),
        ("recovery/livespan", ("collector",)),
        ("replay/livespan", ("collector", "demo")),
        (
            "instrumentation/livespan",
            ("anthropic", "demo", "langgraph", "mcp", "openai", "openai-agents", "pydantic-ai"),
        ),
    ],
)
def test_every_package_that_shipped_code_imports_is_declared(folder: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *(line for e in extras for line in project["optional-dependencies"][e])]
    declared = requirement_names(listed) | {
        "opentelemetry-api",  # opentelemetry-sdk of the same release, by its own word
        "opentelemetry-proto",  # opentelemetry-exporter-otlp, the same
        "pydantic-core",  # pydantic of the same release
    }
    installed = packages_distributions()
    undeclared = {
        name
        for name in imported_packages(ROOT / folder)
        if not declared & {normal(distribution) for distribution in distributions_of(name, installed)}
    }
    assert not undeclared


def distributions_of(module: str, installed: Mapping[str, list[str]]) -> list[str]:
    """Return who may have brought a module; namespaces are told apart by their second name."""
    known = {"google.rpc": "googleapis-common-protos", "google.protobuf": "protobuf"}
    for start, distribution in known.items():
        if module.startswith(start):
            return [distribution]
    return list(installed.get(module.partition(".")[0], []))


def test_the_command_to_try_next_is_one_that_can_be_typed_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "my venv" / "bin" / "livespan"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script), "demo"])
    assert shlex.split(this_command()) == [str(script)]

    monkeypatch.setattr(sys, "argv", ["/somewhere/livespan/collector/__main__.py", "demo"])
    assert shlex.split(this_command()) == [sys.executable, "-m", "livespan.collector"]

    monkeypatch.setenv("PATH", str(script.parent))
    assert this_command() == "livespan"

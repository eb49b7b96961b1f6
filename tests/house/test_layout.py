"""The plan of the house: five portions of one namespace, and what each offers in public."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPONENTS = ("collector", "instrumentation", "proto", "recovery", "replay")


@pytest.mark.parametrize("component", COMPONENTS)
def test_no_init_file_turns_the_namespace_into_a_package(component: str) -> None:
    """One in COMPONENT/livespan would hide the other four; one in COMPONENT would shadow proto-plus and the like."""
    assert not (ROOT / component / "__init__.py").exists()
    assert not (ROOT / component / "livespan" / "__init__.py").exists()
    assert (ROOT / component / "livespan" / component / "py.typed").exists()


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_has_a_readme(component: str) -> None:
    assert (ROOT / component / "README.md").read_text().startswith("# ")


def test_the_agents_api_is_what_all_lists_sorted() -> None:
    package = import_module("livespan.instrumentation")
    assert list(package.__all__) == sorted(
        package.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    for name in package.__all__:
        assert getattr(package, name) is not None


@pytest.mark.parametrize("path", sorted(p for c in COMPONENTS for p in (ROOT / c).rglob("*.py")), ids=lambda p: p.name)
def test_modules_say_what_they_are_and_stay_small(path: Path) -> None:
    text = path.read_text()
    if path.name.endswith(("_pb2.py", "_pb2_grpc.py")) or not text:
        return
    assert ast.get_docstring(ast.parse(text)), "a module's docstring says what lives there"
    assert text.count("\n") <= 800


def test_importing_the_agents_side_brings_in_neither_duckdb_nor_pyarrow() -> None:
    code = (
        "import sys, livespan.instrumentation as ls\n"
        "for name in ls.__all__: getattr(ls, name)\n"
        "heavy = {'duckdb', 'pyarrow', 'deltalake', 'langchain', 'langgraph', 'pydantic', 'rich'} & set(sys.modules)\n"
        "heavy |= {'tenacity'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "above = ('livespan.collector', 'livespan.recovery', 'livespan.replay')\n"
        "assert not [name for name in sys.modules if name.startswith(above)]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("proto/livespan/proto/broken.py", "livespan.collector.settings"),
        ("instrumentation/livespan/instrumentation/broken.py", "livespan.recovery.leases"),
        ("collector/livespan/collector/broken.py", "livespan.instrumentation.settings"),
        ("recovery/livespan/recovery/broken.py", "livespan.instrumentation.settings"),
    ],
)
def test_an_import_against_the_layers_is_refused(module: str, forbidden: str, tmp_path: Path) -> None:
    """Each contract is broken once, in a copy, to see it fail."""
    for component in COMPONENTS:
        for path in (ROOT / component).rglob("*.py"):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    assert _lint(tmp_path).returncode == 0, _lint(tmp_path).stdout
    (tmp_path / module).write_text(f'"""Broken on purpose."""\n\nimport {forbidden}\n\n__all__ = ["{forbidden}"]\n')
    result = _lint(tmp_path)
    assert result.returncode != 0
    assert "BROKEN" in result.stdout


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    path = ":".join(str(folder / component) for component in COMPONENTS)
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

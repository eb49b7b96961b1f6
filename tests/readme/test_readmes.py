"""Every command and every program of every README is run as it stands, in order, and what it shows is compared.

What cannot be run here is in NOT_RUN by name, with the reason; a command that is in neither fails.
"""

from __future__ import annotations

import re
import shlex
import socket
from pathlib import Path
from typing import Final

import click
import pytest
from tests.livespan_home import LiveHome
from tests.readme.blocks import ROOT, Command, Printed, Program, commands_in_text, readmes, steps
from tests.readme.reader import Reader

from livespan.collector.cli import livespan

pytestmark = pytest.mark.outside

NOT_RUN: Final = {
    "make setup": "it made the environment that this test runs in",
    "make demo": "tests/replay plays its scenarios",
    "make test": "this test is a part of it",
    "useradd --system --home-dir /var/lib/livespan --shell /usr/sbin/nologin livespan": "it changes the machine",
    "python3 -m venv /opt/livespan && /opt/livespan/bin/pip install '.[collector]'": "it changes the machine",
    "cp deploy/systemd/livespan-collector.service /etc/systemd/system/": "it changes the machine",
    "systemctl daemon-reload && systemctl enable --now livespan-collector": "it changes the machine",
}
"""Commands that are not run, and why; test_what_is_not_run_could_be checks what can be checked of them."""
_UNIT: Final = "livespan-collector"


def _id(readme: Path) -> str:
    return str(readme.relative_to(ROOT).parent)


def _with_steps() -> list[Path]:
    return [readme for readme in readmes() if any(True for _ in steps(readme.read_text()))]


def follow(text: str, live: LiveHome, *, activated: bool = True) -> None:
    """Do what a README says, in a folder and a home of its own.

    Args:
        activated: who reads it has followed the beginning of the root's README, which activates `.venv`.
    """
    folder = live.folder / "newcomer"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = one.getsockname()[1], other.getsockname()[1]
    reader = Reader(folder, live.home.root, ports)
    written: dict[str, bool] = {}
    try:
        if activated:
            reader.type(Command(0, ". .venv/bin/activate", 0))
        for step in steps(text):
            match step:
                case Program():
                    reader.write(step.name, step.source)
                    written[step.name] = False
                case Command() if step.text not in NOT_RUN:
                    reader.type(step)
                    written |= {name: True for name in written if name in step.text}
                case Command():
                    continue
                case Printed():
                    reader.compare(step)
        reader.finish()
    finally:
        reader.close()
    assert all(written.values()), f"a program that no command runs: {written}"


@pytest.mark.parametrize("readme", _with_steps(), ids=_id)
def test_a_newcomer_can_follow_it(readme: Path, live: LiveHome) -> None:
    follow(readme.read_text(), live, activated=readme.parent != ROOT)


def test_what_is_not_run_is_still_in_a_readme() -> None:
    said = {step.text for readme in _with_steps() for step in steps(readme.read_text()) if isinstance(step, Command)}
    assert NOT_RUN.keys() <= said


def test_what_is_not_run_could_be() -> None:
    makefile = (ROOT / "Makefile").read_text()
    unit = (ROOT / f"deploy/systemd/{_UNIT}.service").read_text()
    for command in NOT_RUN:
        for part in command.split(" && "):
            match shlex.split(part):
                case ["make", verb]:
                    assert re.search(rf"^{verb}:", makefile, re.MULTILINE), command
                case ["cp", source, _]:
                    assert (ROOT / source).is_file(), command
                case [_, "install", wanted]:
                    assert f"{wanted.partition('[')[2].rstrip(']')} = [" in (ROOT / "pyproject.toml").read_text()
                case ["useradd", *_, user]:
                    assert f"User={user}" in unit, command
                case ["python3", "-m", "venv", folder]:
                    assert f"ExecStart={folder}/bin/" in unit, command
                case ["systemctl", *words]:
                    assert words[-1] in ("daemon-reload", _UNIT), command
                case other:
                    pytest.fail(f"nothing checks {other}")


@pytest.mark.parametrize("readme", readmes(), ids=_id)
def test_commands_in_running_text_exist(readme: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for text in commands_in_text(readme.read_text()):
        program, *words = shlex.split(text)
        if program == "make":
            assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), text
        else:
            _must_exist(words, text)


def _must_exist(words: list[str], text: str) -> None:
    """Fail where a command line has a command or an option that `livespan` has not."""
    command: click.Command = livespan
    context = click.Context(command)
    options = {"--version", "--help", "-h"}
    for word in words:
        if word == "--":
            return
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(context, word)
            assert found is not None, f"`{text}`: there is no {word}"
            command = found
            options = {"--help"} | {option for parameter in command.params for option in parameter.opts}
        elif word.startswith("-"):
            assert word in options, f"`{text}`: there is no {word}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```sh\nlivespan runs shew\n```\n", "exits with 2, not 0"),
        ("```sh\ntrue    # exits with 5\n```\n", "exits with 0, not 5"),
        (
            "```sh\necho took 3 ms\n```\n\n```text\ntook 7 ms\n```\n\n```text\nlost 7 ms\n```\n",
            "the README shows\nlost",
        ),
        ("```\nlivespan runs list\n```\n", "a block is python, sh or text"),
        ("```python\nprint()\n```\n", "a program begins with"),
        ("```python\n# agent.py\n```\n", "a program that no command runs"),
        ("```sh\nlivespan serve --no-such-option\n```\n", "ended at once"),
    ],
)
def test_a_wrong_readme_is_found(text: str, said: str, live: LiveHome) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        follow(text, live)

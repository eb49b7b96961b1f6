"""A newcomer with a README and nothing else: types its commands in one folder, in order, and compares what is printed.

Changed for the machine that the test runs on, and nothing else: ports 4317 and 4318 are free ones, 0.0.0.0 is
127.0.0.1, NODE is the id that the last tree showed. A command that ends by Ctrl-C alone runs as in a terminal of its
own, until a command of the same kind comes or the README ends.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Final

from tests.livespan_home import wait_until
from tests.readme.blocks import ROOT, Command, Printed

_ENDLESS: Final = {"livespan serve": "collector: serving", "livespan runs tail": ""}
"""Commands that end by Ctrl-C alone, and what they print when they have begun."""
_NODE: Final = re.compile(r"\b[0-9a-f]{16}\b")
_KILLED: Final = re.compile(r"^bash: .*Killed .*\n?", re.MULTILINE)
_VOLATILE: Final = (
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"), "<time>"),
    (re.compile(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b"), "<id>"),
    (re.compile(r"\b\d[\d,.]* (?:ms|s|min \d+ s)(?!\w)"), "<took>"),
    (re.compile(r" +"), " "),
)
_TIMEOUT_S: Final = 60.0


class Reader:
    """See the module; `close` ends what still runs."""

    def __init__(self, folder: Path, home: Path, ports: tuple[int, int]) -> None:
        self.folder = folder
        self._state = folder.parent / "environment"
        self._ports = ports
        self._endless: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("LIVESPAN_", "OTEL_"))
        }
        # Unbuffered as on a terminal, where a line is seen when it is printed.
        self._environment |= {"HOME": str(folder.parent), "LIVESPAN_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        (folder / ".venv").symlink_to(ROOT / ".venv")
        self.printed = ""

    def write(self, name: str, source: str) -> None:
        """Write a program into the folder."""
        (self.folder / name).write_text(self._here(source))

    def type(self, command: Command) -> None:
        """Run a command and hold its exit code against what the README says."""
        kind = next((kind for kind in _ENDLESS if command.text.startswith(kind)), "")
        if kind:
            self._begin(kind, command)
            return
        # What a command changes in the shell, as `activate` does, holds for the next one.
        keep = f"status=$?; env -0 > {self._state}; exit $status"
        done = self._bash(f"{self._here(command.text)}\n{keep}")
        self.printed = _KILLED.sub("", done.stdout.decode())
        assert done.returncode == command.exit_code, (
            f"line {command.line}: {command.text}\nexits with {done.returncode}, not {command.exit_code}:\n"
            f"{self.printed}"
        )
        if self._state.exists():
            entries = [entry.partition("=") for entry in self._state.read_text().split("\0") if entry]
            self._environment = {name: value for name, _, value in entries}

    def compare(self, shown: Printed) -> None:
        """Hold what the README shows against what the last command printed; times and ids may differ."""
        wanted, printed = _settled(shown.text), _settled(self.printed)
        pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(f"{line}\n") for line in wanted)
        assert re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)), (
            f"line {shown.line}: the README shows\n{shown.text}\nand this was printed:\n{self.printed}"
        )

    def finish(self) -> None:
        """End what still runs, as Ctrl-C does; it must not have ended by itself, and has printed something."""
        for kind in list(self._endless):
            self._end(kind)

    def close(self) -> None:
        """End what a README that went wrong has left."""
        for process, _ in self._endless.values():
            process.kill()
            process.wait(_TIMEOUT_S)

    def _begin(self, kind: str, command: Command) -> None:
        if kind in self._endless:
            self._end(kind)
        output = self.folder.parent / f"{kind.replace(' ', '-')}.output"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._here(command.text)}"],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        self._endless[kind] = (process, output)
        wait_until(lambda: _ENDLESS[kind] in output.read_text() or process.poll() is not None, _TIMEOUT_S, 0.05)
        assert process.poll() is None, f"line {command.line}: {command.text}\nended at once:\n{output.read_text()}"

    def _end(self, kind: str) -> None:
        process, output = self._endless.pop(kind)
        ended = process.poll()
        if ended is None:
            process.send_signal(signal.SIGINT)
            process.wait(_TIMEOUT_S)
        told = output.read_text()
        assert ended is None, f"{kind} ended by itself:\n{told}"
        assert told, f"{kind} has printed nothing"

    def _bash(self, text: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def _here(self, text: str) -> str:
        grpc_port, http_port = self._ports
        text = text.replace("0.0.0.0", "127.0.0.1").replace("4317", str(grpc_port)).replace("4318", str(http_port))
        if " NODE " in text:
            node = _NODE.search(self.printed)
            assert node, f"no tree has shown a NODE before: {text}"
            text = text.replace(" NODE ", f" {node[0]} ")
        return text


def _settled(text: str) -> list[str]:
    """Return the lines of an output without what differs from run to run."""
    for pattern, word in _VOLATILE:
        text = pattern.sub(word, text)
    return [line.rstrip() for line in text.strip().splitlines()]

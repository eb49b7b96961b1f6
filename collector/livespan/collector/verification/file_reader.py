"""Reading Parquet files in a process of its own: a damaged footer can end the reader by SIGABRT, in C++, with no error
that could be caught.

    parent ── path ──▶ child: reads the file whole ── what is broken, a line each; an empty line: done ──▶ parent
                         └─ dies: that file is damaged, and the next one gets another child
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

__all__ = ["Broken", "FileReader"]

_MAGIC: Final = b"PAR1"


class Broken(msgspec.Struct, frozen=True):
    """A place in a file that cannot be read: bytes from the file's start, None where it is the file as a whole."""

    failure: str
    offset: int | None = None


@dataclass(slots=True)
class FileReader:
    """Starts its child when it is first asked; a context manager that ends it. One thread at a time."""

    _child: subprocess.Popen[bytes] | None = None

    def read(self, path: Path) -> list[Broken]:
        """Read a file whole, each page against its checksum, and return what cannot be read."""
        child = self._child
        if child is None:
            child = self._child = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert child.stdin is not None
        assert child.stdout is not None
        found: list[Broken] = []
        try:
            child.stdin.write(msgspec.json.encode(str(path)) + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            pass  # it ended by itself; told below
        while line := child.stdout.readline().strip():
            if line == b"done":
                return found
            found.append(msgspec.json.decode(line, type=Broken))
        self._end()
        return [*found, Broken(f"its footer ends its reader (exit status {child.returncode})")]

    def __enter__(self) -> FileReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.communicate()


def _read(path: Path) -> Iterator[Broken]:
    from livespan.collector.arrow import row_groups

    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                yield Broken("it does not begin as a Parquet file does", 0)
        for group in row_groups(path):
            if group.rows is None:
                yield Broken(group.failure, group.offset)
    except FileNotFoundError:
        yield Broken("it is not there")
    except Exception as error:  # noqa: BLE001  # the process's border: what damaged metadata leads to has no bounds
        first = str(error).strip().partition("\n")[0]
        yield Broken(f"its footer cannot be read: {type(error).__name__}: {first}", max(path.stat().st_size - 8, 0))


def _main() -> None:
    for text in sys.stdin.buffer:
        for broken in _read(Path(msgspec.json.decode(text, type=str))):
            sys.stdout.buffer.write(msgspec.json.encode(broken) + b"\n")
        sys.stdout.buffer.write(b"done\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()

"""What a README holds that can be run: fenced blocks in their order, and commands in running text.

```python   a program; its first line, `# NAME.py`, is the file that the reader writes
```sh       commands, one a line; `# exits with N` behind one says that it is not 0
```text     what the last command before it prints; a line `...` stands for any lines
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_SKIPPED: Final = frozenset({".venv", ".make", ".git", "node_modules"})
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED: Final = re.compile(r"# (\w+\.py)\n")
_EXITS: Final = re.compile(r"\s+#.*\bexits with (\d+)")
_REMARK: Final = re.compile(r"\s+#.*$")
_IN_TEXT: Final = re.compile(r"`((?:livespan|make) [^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `line` is that of its fence."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Program:
    """A file that the reader writes."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command that the reader types, without its remark."""

    line: int
    text: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Printed:
    """What the command before it prints, as the README shows it."""

    line: int
    text: str


def readmes() -> list[Path]:
    """Return every README of the repository, the root's first."""
    found: list[Path] = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        found += [Path(folder, "README.md")] if "README.md" in files else []
    return sorted(found, key=lambda path: (len(path.parts), path))


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a README."""
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 1) for match in _FENCE.finditer(text)]


def steps(text: str) -> Iterator[Program | Command | Printed]:
    """Yield what a reader does, in order.

    Raises:
        AssertionError: a block says not what it is.
    """
    for block in blocks(text):
        match block.language:
            case "python":
                named = _NAMED.match(block.text)
                assert named, f"line {block.line}: a program begins with `# NAME.py`"
                yield Program(named[1], block.text)
            case "sh":
                for number, line in enumerate(block.text.splitlines(), block.line + 1):
                    exits = _EXITS.search(line)
                    yield Command(number, _REMARK.sub("", line).strip(), int(exits[1]) if exits else 0)
            case "text":
                yield Printed(block.line, block.text)
            case other:
                raise AssertionError(f"line {block.line}: a block is python, sh or text, not {other!r}")


def commands_in_text(text: str) -> list[str]:
    """Return the commands of Livespan and make that running text names."""
    return [" ".join(found.split()) for found in _IN_TEXT.findall(_FENCE.sub("", text))]

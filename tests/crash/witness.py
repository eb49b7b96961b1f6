"""What the program itself says it was given: one line per return, appended by one `os.write` after the return.

A line that stands in the file was seen by the program, whatever became of the process afterwards. Nothing of Livespan
writes or reads it. Digests are SHA-256 over JSON with sorted keys, which anyone can compute from the lake again.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

import msgspec

__all__ = ["Line", "Witness", "json_digest", "read_witness"]


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that the program saw.

    Attributes:
        what: begun | entered | returned | checkpoint | stopped | finished. `entered` is written inside an effect,
            before it does anything.
        life: attempt, from 1.
        label: names the step within the run; unique.
        name: of the tool or step.
        node: id of the try (hex), where the body ran in this life; "" where the record answered.
        key: the effect's idempotency key.
        input, output, state: digests.
        checkpoint: the id that `checkpoint` returned.
        subject: of what stopped the run.
    """

    what: str
    life: int
    label: str = ""
    name: str = ""
    node: str = ""
    key: str = ""
    input: str = ""
    output: str = ""
    state: str = ""
    checkpoint: str = ""
    subject: str = ""


class Witness:
    """Appends lines; threads and forked children share the descriptor, and each line is one write."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, line: Line) -> None:
        """Append a line; when this returns it outlives the process."""
        os.write(self._descriptor, msgspec.json.encode(line) + b"\n")


def read_witness(path: Path) -> list[Line]:
    """Return the whole lines. A killed process has written each whole or not at all; one that is being written while
    this reads may be seen in part, and is not there yet."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = data[: data.rfind(b"\n") + 1]
    return [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]


def json_digest(value: object) -> str:
    """Return the digest of a JSON value (hex)."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

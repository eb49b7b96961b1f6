"""What recovery acknowledged before the power went, and whether the lake still has it.

A file of its own beside the witness, outside of the disk that forgets: one line by one `os.write` after each answer of
`Hold`, `Intend`, `Resolve` and `Close`. Answers of OTLP's Export are the witness's (witness.py).
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import msgspec
from tests.crash.witness import json_digest

__all__ = ["Ack", "AckFile", "check_acks", "read_acks"]

_RECORDS = "SELECT kind, node_id, epoch, attempt, lease_event FROM records WHERE run_id = ?"
_EFFECTS = "SELECT node_id, idempotency_key, settled, output FROM effects WHERE run_id = ?"


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer.

    Attributes:
        what: held | intended | settled | closed.
        epoch, attempt: of the lease, where the answer is about one.
        node: id (hex) of the attempt, or of the effect's try.
        key: the effect's idempotency key.
        left: the effect is never ended by its program, so that somebody has to settle it.
        output: digest of the outcome that it was settled with.
    """

    what: str
    epoch: int = 0
    attempt: int = 0
    node: str = ""
    key: str = ""
    left: bool = False
    output: str = ""


class AckFile:
    """Appends answers to a file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, ack: Ack) -> None:
        """Append an answer; when this returns it outlives the machine."""
        os.write(self._descriptor, msgspec.json.encode(ack) + b"\n")


def read_acks(path: Path) -> list[Ack]:
    """Return the answers in their order; none where there is no file."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Ack) for line in path.read_bytes().splitlines()]


def check_acks(views: Path, run: str, acks: list[Ack]) -> tuple[list[str], Counter[str]]:
    """Return what was answered and is not so in the lake, each "WHAT: why", and how many answers there were by kind."""
    with duckdb.connect() as connection:
        connection.execute(views.read_text())
        records = _rows(connection, _RECORDS, run)
        effects = {row["node_id"]: row for row in _rows(connection, _EFFECTS, run)}
    lives = {(row["node_id"], row["epoch"], row["attempt"]) for row in records if row["kind"] == "attempt"}
    leases = {(row["lease_event"], row["epoch"]) for row in records if row["kind"] == "lease"}
    problems: list[str] = []
    newest_epoch = 0
    for ack in acks:
        match ack.what:
            case "held":
                if (ack.node, ack.epoch, ack.attempt) not in lives or ("granted", ack.epoch) not in leases:
                    problems.append(f"held: attempt {ack.attempt} of epoch {ack.epoch} is not recorded")
                if ack.epoch <= newest_epoch:
                    problems.append(f"held: epoch {ack.epoch} was granted when {newest_epoch} had been")
                newest_epoch = max(newest_epoch, ack.epoch)
            case "closed":
                if ("released", ack.epoch) not in leases:
                    problems.append(f"closed: the lease of epoch {ack.epoch} is not released")
            case "intended":
                if ack.node not in effects or effects[ack.node]["idempotency_key"] != ack.key:
                    problems.append(f"intended: effect {ack.node} has no started record")
            case _:
                row = effects.get(ack.node)
                output = row["output"] if row is not None else None
                if row is None or row["settled"] != "done" or output is None or _digest(output) != ack.output:
                    problems.append(f"settled: effect {ack.node} has not the outcome that it was settled with")
    return problems, Counter(ack.what for ack in acks)


def _digest(text: str) -> str:
    return json_digest(msgspec.json.decode(text))


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, run: str) -> list[dict[str, Any]]:
    cursor = connection.execute(sql, [run])
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

"""The rows of both tables against each other: content has the digest it is named by, and what nodes name is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import msgspec

from livespan.collector.arrow import ArrowTable
from livespan.collector.verification.file_reader import FileReader
from livespan.collector.verification.tables import TableReading, read_files
from livespan.proto.ids import content_digest
from livespan.proto.verified import Fault

__all__ = ["ContentCheck"]

_CONTENT: Final = ("run_id", "node_id", "digest", "size_bytes", "bytes")
_KINDS: Final = ("input", "output", "state", "span")
_NODES: Final = (
    "run_id",
    "node_id",
    "attributes",
    *(f"{kind}_digest" for kind in _KINDS),
    *(f"{kind}_size_bytes" for kind in _KINDS),
)
_SHOWN: Final = 20
_COPY: Final = "Put the file back from a copy of the home; a run falls back to an older checkpoint, or asks again."


class ContentCheck:
    """Checks `content` first, then `nodes` against what was found there."""

    def __init__(self, reader: FileReader) -> None:
        self._reader = reader
        self.values = 0
        self.named = 0
        self._found: set[tuple[str, str]] = set()
        self._missing: Counter[Path] = Counter()

    def read_content(self, reading: TableReading) -> None:
        """Read the content table; each value must have the digest and size of its row."""

        def take(path: Path, offset: int, rows: ArrowTable) -> None:
            for row in rows.to_pylist():
                self.values += 1
                data = cast("bytes | None", row["bytes"]) or b""
                if content_digest(data) == row["digest"] and len(data) == row["size_bytes"]:
                    self._found.add((row["run_id"], row["digest"]))
                    continue
                what = (
                    f"In the row group that begins here, content of run {row['run_id']}, node {row['node_id']}, does "
                    f"not have the digest {row['digest']} that it was stored under."
                )
                reading.faults.append(Fault(str(path), offset, what, _COPY))

        read_files(reading, self._reader, _CONTENT, take)

    def read_nodes(self, reading: TableReading) -> None:
        """Read the nodes table; each value that a row names by digest must be in `content`."""

        def take(path: Path, offset: int, rows: ArrowTable) -> None:
            for row in rows.to_pylist():
                for what in self._lost(row):
                    self._missing[path] += 1
                    if self._missing[path] <= _SHOWN:
                        node = f"Run {row['run_id']}, node {row['node_id']}: {what}"
                        reading.faults.append(Fault(str(path), offset, node, _COPY))

        read_files(reading, self._reader, _NODES, take)
        for path, count in self._missing.items():
            if count > _SHOWN:
                reading.notes.append(f"{count - _SHOWN} more values that rows of {path} name are missing.")

    def _lost(self, row: dict[str, object]) -> Iterator[str]:
        run_id = str(row["run_id"])
        for kind in _KINDS:
            digest, size = row[f"{kind}_digest"], row[f"{kind}_size_bytes"]
            if isinstance(digest, str):
                yield from self._looked_up(run_id, kind, digest)
            elif size is not None:
                yield f"its {kind} ({size} bytes) could not be read from the log when it was published, and is lost."
        for name, digest in _large_attributes(row["attributes"]):
            yield from self._looked_up(run_id, f"attribute {name}", digest)

    def _looked_up(self, run_id: str, kind: str, digest: str) -> Iterator[str]:
        self.named += 1
        if (run_id, digest) not in self._found:
            yield f"its {kind} is not in the content table (digest {digest})."


def _large_attributes(text: object) -> Iterator[tuple[str, str]]:
    """Yield (name, digest) of the attributes whose values are content."""
    if not isinstance(text, str) or '"digest"' not in text:
        return
    for name, value in msgspec.json.decode(text, type=dict[str, object]).items():
        if isinstance(value, dict):
            digest = cast("dict[str, object]", value).get("digest")
            if isinstance(digest, str) and digest:
                yield name, digest

"""What a home consists of, byte by byte: each file of it, cut into regions of a kind.

A file that is of no known kind raises: whoever adds one says here what it is, and so has it damaged, too.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deltalake import DeltaTable

from livespan.collector.log.frame import HEADER_SIZE, MAGIC, frame_size, read_header
from livespan.collector.log.segment import parse_name

__all__ = ["KINDS", "Region", "UnknownFileError", "live_files", "regions"]

_FOOTER: Final = 8
_MAGIC: Final = 4
_SPOOL_HEADER: Final = 64
_TABLES: Final = ("nodes", "content")


class UnknownFileError(AssertionError):
    """A home has a file that nobody has said the kind of."""


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes `start..end` of a file; `free` where they mean nothing, so that damage to them is none."""

    kind: str
    path: Path
    start: int
    end: int
    free: bool = False


KINDS: Final = frozenset({
    "collector's address", "forwarder's cursor",
    "lake: Delta checkpoint", "lake: Delta commit", "lake: older Delta commit", "lake: pointer to the Delta checkpoint",
    "lake: content: footer and magic", "lake: content: pages", "lake: nodes: footer and magic", "lake: nodes: pages",
    "lake: seal", "lake: views.sql",
    "log: format and uuid", "log: frame header", "log: frame payload",
    "spool: commit word", "spool: id", "spool: meta.json", "spool: record", "spool: segment header", "spool: watermark",
})  # fmt: skip
"""The kinds that bits are flipped in: all of which a byte means something."""

_Cut = Callable[[Path, bytes], Iterator[Region]]


def _whole(kind: str, *, free: bool = False) -> _Cut:
    def cut(path: Path, data: bytes) -> Iterator[Region]:
        yield Region(kind, path, 0, len(data), free)

    return cut


def _parquet(kind: str) -> _Cut:
    """Pages, and what says where they are: the magic at both ends, the footer and its length."""

    def cut(path: Path, data: bytes) -> Iterator[Region]:
        footer = len(data) - _FOOTER - int.from_bytes(data[-8:-4], "little")
        yield Region(f"{kind}: pages", path, _MAGIC, footer)
        yield Region(f"{kind}: footer and magic", path, footer, len(data))
        yield Region(f"{kind}: footer and magic", path, 0, _MAGIC)

    return cut


def _commit(path: Path, data: bytes) -> Iterator[Region]:
    """A commit behind the table's last checkpoint is history that nothing is read from."""
    sealed = path.parent.with_name("_seals").joinpath(f"{path.stem}.seal").exists()
    yield Region("lake: Delta commit" if sealed else "lake: older Delta commit", path, 0, len(data))


def _watermark(path: Path, data: bytes) -> Iterator[Region]:
    yield Region("spool: watermark", path, 0, 16)
    yield Region("spool: free room", path, 16, len(data), free=True)


def _log_segment(path: Path, data: bytes) -> Iterator[Region]:
    at = 0
    parsed = parse_name(path.name)
    assert parsed is not None
    # Frames of a former use are free room.
    while data.startswith(MAGIC, at) and read_header(data, at).reuse == parsed[1]:
        length = read_header(data, at).length
        yield Region("log: frame header", path, at, at + HEADER_SIZE)
        yield Region("log: frame payload", path, at + HEADER_SIZE, at + HEADER_SIZE + length)
        at += frame_size(length)
    yield Region("log: free room", path, at, len(data), free=True)


def _spool_segment(path: Path, data: bytes) -> Iterator[Region]:
    yield Region("spool: segment header", path, 0, _SPOOL_HEADER)
    at = _SPOOL_HEADER
    while at + 8 <= len(data) and (commit := int.from_bytes(data[at : at + 8], "little")):
        end = at + 24 + (commit & 0xFFFFFFFF)
        yield Region("spool: commit word", path, at, at + 8)
        yield Region("spool: record", path, at + 8, end)
        at = end + -end % 8
    yield Region("spool: free room", path, at, len(data), free=True)


_KINDS: Final[tuple[tuple[str, _Cut], ...]] = (
    (r"collector\.lock|spool/drain\.lock|spool/[^/]+/lock", _whole("lock", free=True)),
    (r"(collector|spool/drain)\.log", _whole("what a process printed", free=True)),
    (r"collector\.addr", _whole("collector's address")),
    (r"forward\.json", _whole("forwarder's cursor")),
    (r"log/format\.json", _whole("log: format and uuid")),
    (r"log/\d{10}-\d{10}\.seg", _log_segment),
    (r"lake/views\.sql", _whole("lake: views.sql")),
    (r"lake/nodes/(part|plain|beside)-[^/]+\.parquet", _parquet("lake: nodes")),
    (r"lake/content/part-[^/]+\.parquet", _parquet("lake: content")),
    (r"lake/\w+/_delta_log/\d{20}\.json", _commit),
    (r"lake/\w+/_delta_log/\d{20}\.checkpoint\.parquet", _whole("lake: Delta checkpoint")),
    (r"lake/\w+/_delta_log/_last_checkpoint", _whole("lake: pointer to the Delta checkpoint")),
    (
        r"(collector|forward)\.tmp|lake/views\.sql\.new|lake/\w+/_\w+/\.[^/]+\.new|spool/\.id\.\w+\.tmp",
        _whole("draft", free=True),
    ),
    (r"lake/\w+/_seals/\d{20}\.seal", _whole("lake: seal")),
    (r"spool/control", _whole("spool: control", free=True)),
    (r"spool/id", _whole("spool: id")),
    (r"spool/[^/]+/ack", _watermark),
    (r"spool/[^/]+/meta\.json", _whole("spool: meta.json")),
    (r"spool/[^/]+/\d{8}\.seg", _spool_segment),
    (r"spool/refused/[^/]+", _whole("spool: refused record")),
)


def regions(home: Path) -> list[Region]:
    """Return every byte of every regular file below a home, as regions that are not empty.

    Raises:
        UnknownFileError: there is a file of no known kind.
    """
    found: list[Region] = []
    live = live_files(home)
    for path in sorted(home.rglob("*")):
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # a collector that runs has removed it since
        name = str(path.relative_to(home))
        cut = next((cut for pattern, cut in _KINDS if re.fullmatch(pattern, name)), None)
        if cut is None:
            raise UnknownFileError(f"what kind of file is {name}? Say so in {Path(__file__).name}")
        if path.suffix == ".parquet" and path.parent.name in _TABLES and path not in live:
            cut = _whole("lake: merged into another file", free=True)
        found += [region for region in cut(path, data) if region.end > region.start]
    return found


def live_files(home: Path) -> frozenset[Path]:
    """Return the files that the lake's tables hold now; a merge leaves its sources on the disk for an hour."""
    tables = [folder for name in _TABLES if (folder := home / "lake" / name).is_dir()]
    return frozenset([Path(file) for folder in tables for file in DeltaTable(folder).file_uris()])

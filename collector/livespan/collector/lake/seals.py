"""Seals: what a table's own log says, kept a second time and under a checksum, and the digests of its files.

    _delta_log/N.json, N.checkpoint.parquet     delta-rs writes and reads them, and no checksum guards them
    _seals/N.seal                               the same bytes again, what commit N has added, and a checksum over both

One flipped bit in a commit can name a file that does not exist, move the watermark, or end a watermark's name: then
published files would be removed as nobody's, or records published twice. So before a table is opened each sealed file
is compared and put back where it differs. The seal of a commit with a checkpoint stands for all before it, which go.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from livespan.collector.arrow import read_parquet
from livespan.collector.difference import first_difference
from livespan.collector.disk import Disk, write_all
from livespan.collector.lake.delta_folder import LOG_FOLDER, names_a_checkpoint
from livespan.collector.lake.file_digest import file_digest
from livespan.collector.notices import Notices

__all__ = ["SEALS_FOLDER", "Sealed", "Seals", "read_seal", "sealed_files"]

SEALS_FOLDER: Final = "_seals"
_SUM_BYTES: Final = 8


class _Pointer(msgspec.Struct, frozen=True):
    version: int


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """What was known of a file when it was added to the table: XXH3-64 of its bytes, and the runs it has rows of."""

    digest: int
    runs: tuple[str, ...]


class Seal(msgspec.Struct, frozen=True):
    """Files of the table's log by name, and what the commit has added; a `base` stands for all seals before."""

    version: int
    base: bool
    log: dict[str, bytes]
    files: dict[str, Sealed]


def read_seal(path: Path) -> Seal | None:
    """Return a seal, None where it is damaged. Raises OSError."""
    data = path.read_bytes()
    body = data[_SUM_BYTES:]
    if xxh3_64_intdigest(body) != int.from_bytes(data[:_SUM_BYTES], "little"):
        return None
    try:
        return msgspec.msgpack.decode(body, type=Seal)
    except msgspec.DecodeError:
        return None


def sealed_files(folder: Path) -> dict[str, Sealed]:
    """Return what the seals of the table in `folder` say of its files, by name; a damaged seal says nothing."""
    files: dict[str, Sealed] = {}
    for path in sorted((folder / SEALS_FOLDER).glob("*.seal")):
        with suppress(FileNotFoundError):  # a newer checkpoint stands for it
            seal = read_seal(path)
            files.update(seal.files if seal is not None else {})
    return files


class Seals:
    """The seals of one table; one thread at a time.

    Attributes:
        files: what is sealed of the table's live files, by name.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        """Read the seals, and put back what they say of the table's log; what was damaged is told.

        Args:
            folder: the table's.
            disk: where what is mended is made to last.

        Raises:
            OSError: the disk refused.
        """
        self.files: dict[str, Sealed] = {}
        self._folder = folder
        self._disk = disk
        self._versions: set[int] = set()
        self._notices = Notices("lake")
        self._mend()

    def __contains__(self, version: int) -> bool:
        return version in self._versions

    def add(self, version: int, live: Iterable[Path], *, base: bool = False) -> None:
        """Seal a commit that lasts. `live` are the table's files; those that are not sealed yet are digested.

        Raises:
            OSError: the disk refused; it is sealed the next time.
        """
        live = list(live)
        fresh = {path.name: _sealed(path) for path in live if path.name not in self.files}
        self.files.update(fresh)
        names = [f"{version:020}.json", *([f"{version:020}.checkpoint.parquet", "_last_checkpoint"] if base else [])]
        log = {name: (self._folder / LOG_FOLDER / name).read_bytes() for name in names}
        if base:
            alive = {path.name for path in live}
            self.files = fresh = {name: sealed for name, sealed in self.files.items() if name in alive}
        self._write(Seal(version, base, log, fresh))
        self._versions.add(version)
        if base:
            self._forget_before(version)

    def _mend(self) -> None:
        found: list[Seal] = []
        for path in sorted((self._folder / SEALS_FOLDER).glob("*.seal")):
            seal = read_seal(path)
            if seal is not None:
                found.append(seal)
                continue
            self._notices.error("seal damaged", path=str(path), offset=0, hint="It is made anew from what it sealed.")
            self._disk.remove(path)
        bases = [seal.version for seal in found if seal.base]
        for seal in found:
            if seal.version < max(bases, default=0):
                continue  # left by a life that ended before it removed it
            self._versions.add(seal.version)
            self.files.update(seal.files)
            for name, wanted in seal.log.items():
                # The pointer is that of the last checkpoint alone, and may be older than another engine's.
                if name != "_last_checkpoint" or seal.version == max(bases):
                    self._put_back(self._folder / LOG_FOLDER / name, wanted)

    def _put_back(self, path: Path, wanted: bytes) -> None:
        found = path.read_bytes() if path.exists() else b""
        if found == wanted or (path.name == "_last_checkpoint" and _is_newer(path, found, wanted)):
            return
        at = first_difference(found, wanted)
        replace_durably(path, wanted, self._disk)
        self._notices.error("table log damaged", path=str(path), offset=at, hint="It was put back from its seal.")

    def _write(self, seal: Seal) -> None:
        body = msgspec.msgpack.encode(seal)
        folder = self._folder / SEALS_FOLDER
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            self._disk.sync_folder(self._folder)
        data = xxh3_64_intdigest(body).to_bytes(_SUM_BYTES, "little") + body
        replace_durably(folder / f"{seal.version:020}.seal", data, self._disk)

    def _forget_before(self, version: int) -> None:
        for path in (self._folder / SEALS_FOLDER).glob("*.seal"):
            if int(path.stem) < version:
                self._disk.remove(path)
        self._versions = {each for each in self._versions if each >= version}


def replace_durably(path: Path, data: bytes, disk: Disk) -> None:
    """Put a file in another's place, so that a crash leaves one of the two whole. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(disk, fd, new, [data], 0)
        disk.sync_file(fd, new)
    finally:
        os.close(fd)
    disk.replace(new, path)
    disk.sync_folder(path.parent)


def _sealed(path: Path) -> Sealed:
    runs = {str(row["run_id"]) for row in read_parquet(path, ("run_id",)).to_pylist()}
    return Sealed(file_digest(path), tuple(sorted(runs)))


def _is_newer(path: Path, found: bytes, wanted: bytes) -> bool:
    """Return whether a pointer names a later checkpoint than the sealed one, and there is one: another engine's."""
    try:
        one, other = (msgspec.json.decode(data, type=_Pointer).version for data in (found, wanted))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return one > other and names_a_checkpoint(path)

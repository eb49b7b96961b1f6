"""Whose log this is: `format.json`, and what the frames themselves say where that file was damaged.

Every whole frame carries the log's uuid under its checksum. So a damaged `format.json`, or one that names another log,
is made anew from the frames where all segments agree; believing it would make spares of them all, to be written over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from livespan.collector.disk import Disk, write_all
from livespan.collector.log.frame import HEADER_SIZE, MAGIC, check_frame, frame_prefix, read_header
from livespan.collector.log.scan import Damage
from livespan.collector.log.segment import parse_name
from livespan.proto.errors import Damaged, InvalidInput

__all__ = ["LOG_VERSION", "read_or_write_format"]

LOG_VERSION: Final = 1
_FORMAT: Final = "livespan-log"
_FORMAT_FILE: Final = "format.json"
_HINT: Final = "Put format.json back from a copy; without it the segments cannot be told from another log's."


class _Format(msgspec.Struct, frozen=True):
    format: str
    version: int
    uuid: UUID


def read_or_write_format(
    folder: Path, names: Sequence[str], disk: Disk, new_uuid: Callable[[], UUID], damages: list[Damage]
) -> UUID:
    """Return the uuid of the log in `folder`, which becomes a log where it holds none; a mended file is added to
    `damages`.

    Raises:
        OSError: the disk refused.
        Damaged: segments are there, and neither the file nor their frames say whose they are.
        InvalidInput: a newer Livespan made the log.
    """
    path = folder / _FORMAT_FILE
    segments = [name for name in names if parse_name(name) is not None]
    data = path.read_bytes() if _FORMAT_FILE in names else b""
    if not data and not segments:
        return _write(path, new_uuid(), disk)
    in_frames = _uuid_in_frames(folder, segments)
    try:
        found = msgspec.json.decode(data, type=_Format)
        if found.format != _FORMAT:
            raise msgspec.ValidationError(f"it says {found.format!r}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if in_frames is None:
            raise Damaged(f"it does not describe a log ({error})", subject=f"{path}@0", hint=_HINT) from error
    else:
        if found.version > LOG_VERSION:
            raise InvalidInput(
                f"its format is {found.format} {found.version}, newer than {_FORMAT} {LOG_VERSION}",
                subject=str(path),
                hint=f"Use the Livespan that made it, or a newer one; if none did, it is damaged. {_HINT}",
            )
        if in_frames in (None, found.uuid):
            return found.uuid
    damages.append(Damage(path, 0, len(data), 0, 0))
    return _write(path, in_frames, disk)


def _uuid_in_frames(folder: Path, segments: Sequence[str]) -> UUID | None:
    """Return the uuid that the first frames of all segments carry that begin with a whole one; None where they do not
    agree, or none has one.
    """
    found = {uuid for name in segments if (uuid := _uuid_in_first_frame(folder / name)) is not None}
    return found.pop() if len(found) == 1 else None


def _uuid_in_first_frame(path: Path) -> UUID | None:
    parsed = parse_name(path.name)
    assert parsed is not None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        head = os.pread(fd, HEADER_SIZE, 0)
        if len(head) < HEADER_SIZE or not head.startswith(MAGIC):
            return None
        header = read_header(head, 0)
        if header.length > os.fstat(fd).st_size:
            return None
        data = os.pread(fd, HEADER_SIZE + header.length, 0)
    except OSError:
        return None  # a bad block: the scan reports it
    finally:
        os.close(fd)
    uuid = UUID(bytes=header.uuid)
    with memoryview(data) as view:
        return None if check_frame(view, 0, frame_prefix(uuid, parsed[1])) is None else uuid


def _write(path: Path, uuid: UUID, disk: Disk) -> UUID:
    temporary = path.with_name(_FORMAT_FILE + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(disk, fd, temporary, [msgspec.json.encode(_Format(_FORMAT, LOG_VERSION, uuid)) + b"\n"], 0)
        disk.sync_file(fd, temporary)
    finally:
        os.close(fd)
    # Durable with the folder, which is synced before the log is used.
    disk.replace(temporary, path)
    return uuid

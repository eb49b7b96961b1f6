"""Log format 1, held by files that are never edited: they are read, and the same appends still make
the same bytes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import UUID

from livespan.collector.log import Entry, FileLog, open_log

GOLDEN = Path(__file__).parent.parent / "golden" / "log-v1"
LOG = UUID("6c697665-7370-616e-806c-6f672d76312e")
SIZE = 1024
FIRST = [Entry(b"", 1), Entry(b"one", 2), Entry(b"eight by", 1), Entry(bytes(range(256)), 7)]
ROUND = [Entry(b"%03d" % index * 60, index % 3 + 1) for index in range(14)]
OVERSIZE = Entry(bytes(range(256)) * 10, 40)


def write(folder: Path) -> FileLog:
    """Append, recycle so that one segment is in its second use over old frames, and append an
    oversize frame.
    """
    log = open_log(folder, segment_bytes=SIZE, new_uuid=lambda: LOG, spares_ahead=0, spares_kept=1)
    log.append(FIRST)
    log.append(ROUND[:3])
    log.recycle(log.next_seq)
    log.append(ROUND[3:])
    log.append([OVERSIZE])
    return log


def test_the_golden_log_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    shutil.copytree(GOLDEN, folder)

    log = open_log(folder, segment_bytes=SIZE, spares_ahead=0)

    assert log.uuid == LOG
    assert (log.report.damages, log.report.cut) == ((), ())
    assert sorted(path.name for path in GOLDEN.glob("*-0000000002.seg")), "one is in its second use"
    frames = list(log.frames(1))
    expected = [*FIRST, *ROUND, OVERSIZE]
    kept = expected[len(expected) - len(frames) :]
    assert len(frames) == 13
    assert [Entry(frame.payload, frame.count) for frame in frames] == kept
    assert log.next_seq == 1 + sum(entry.count for entry in expected)
    log.close()


def test_the_same_appends_still_make_the_golden_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    write(folder).close()

    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    golden = {path.name: path.read_bytes() for path in GOLDEN.iterdir()}

    assert sorted(made) == sorted(golden)
    assert made == golden

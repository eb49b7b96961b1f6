"""What every log does, whatever it is made of. A log joins by a line in `LOGS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from livespan.collector.log import Appended, Entry, Log, open_log
from livespan.proto.errors import Closed, NotFound

OpenLog = Callable[[Path], Log]
LOGS: dict[str, OpenLog] = {
    "files": lambda folder: open_log(folder, segment_bytes=64 << 10),
    "files with tiny segments": lambda folder: open_log(folder, segment_bytes=4096),
}


@pytest.fixture(params=LOGS)
def opener(request: pytest.FixtureRequest) -> OpenLog:
    return LOGS[str(request.param)]


@pytest.fixture
def log(opener: OpenLog, tmp_path: Path) -> Iterator[Log]:
    log = opener(tmp_path / "log")
    yield log
    log.close()


def fill(log: Log, frames: int, size_bytes: int = 1000, count: int = 2) -> list[Appended]:
    result: list[Appended] = []
    for _ in range(frames):
        payload = b"%08d" % log.next_seq + b"x" * (size_bytes - 8)
        result += log.append([Entry(payload, count)])
    return result


def test_sequences_start_at_one_and_rise_by_the_records_of_each_frame(log: Log) -> None:
    appended = log.append([Entry(b"a", 3), Entry(b"", 1), Entry(b"bb", 5)])

    assert [(each.first_seq, each.count) for each in appended] == [(1, 3), (4, 1), (5, 5)]
    assert log.next_seq == 10


def test_what_was_appended_is_read_back_by_reference_and_in_order(log: Log) -> None:
    entries = [Entry(bytes([index]) * (index * 97), index + 1) for index in range(60)]
    appended = log.append(entries)

    frames = list(log.frames(1))

    assert [frame.payload for frame in frames] == [entry.payload for entry in entries]
    assert [(frame.ref, frame.first_seq, frame.count) for frame in frames] == [
        (each.ref, each.first_seq, each.count) for each in appended
    ]
    with log.reader() as reader:
        assert [reader.read(each.ref) for each in appended] == [each.payload for each in entries]


def test_frames_begin_with_the_one_that_holds_the_sequence_asked_for(log: Log) -> None:
    fill(log, 30, count=2)

    for from_seq in range(1, 62):
        found = [frame.first_seq for frame in log.frames(from_seq)]
        assert found == [first for first in range(1, 61, 2) if first + 2 > from_seq]


def test_a_closed_log_opens_as_it_was_and_sequences_go_on(opener: OpenLog, tmp_path: Path) -> None:
    log = opener(tmp_path / "log")
    appended = fill(log, 50)
    uuid = log.uuid
    log.close()

    log = opener(tmp_path / "log")

    assert (log.uuid, log.next_seq) == (uuid, 101)
    assert [frame.ref for frame in log.frames(1)] == [each.ref for each in appended]
    assert log.append([Entry(b"next", 1)])[0].first_seq == 101
    log.close()


def test_a_frame_larger_than_any_segment_is_kept_like_every_other(opener: OpenLog, tmp_path: Path) -> None:
    log = opener(tmp_path / "log")
    large = bytes(range(256)) * 1000
    log.append([Entry(b"before", 1), Entry(large, 1), Entry(b"after", 1)])
    log.close()

    log = opener(tmp_path / "log")

    assert [frame.payload for frame in log.frames(1)] == [b"before", large, b"after"]
    log.close()


def test_recycling_frees_only_what_lies_wholly_below(log: Log) -> None:
    fill(log, 200)
    assert log.recycle(1) == 0

    freed = log.recycle(201)

    assert freed > 0
    left = [frame.first_seq for frame in log.frames(1)]
    assert left == list(range(left[0], 400, 2))
    assert left[0] <= 201


def test_the_newest_frame_is_never_recycled_so_sequences_never_start_again(opener: OpenLog, tmp_path: Path) -> None:
    log = opener(tmp_path / "log")
    fill(log, 200)
    log.recycle(log.next_seq)
    log.close()

    log = opener(tmp_path / "log")

    assert log.next_seq == 401
    log.close()


def test_a_pinned_segment_is_not_recycled_until_its_reader_closes(log: Log) -> None:
    appended = fill(log, 200)
    reader = log.reader()
    reader.pin(appended[0].ref)

    assert log.recycle(log.next_seq) == 0
    assert reader.read(appended[0].ref).startswith(b"%08d" % 1)

    reader.close()
    reader.close()
    assert log.recycle(log.next_seq) > 0
    with log.reader() as late, pytest.raises(NotFound):
        late.read(appended[0].ref)


def test_an_iteration_that_is_under_way_pins_what_it_has_not_passed(log: Log) -> None:
    fill(log, 200)
    frames = log.frames(1)
    next(frames)

    assert log.recycle(log.next_seq) == 0
    assert len(list(frames)) == 199
    assert log.recycle(log.next_seq) > 0


def test_an_old_reference_finds_nothing_after_its_segment_was_used_again(log: Log) -> None:
    appended = fill(log, 100)
    for _ in range(5):
        log.recycle(log.next_seq)
        fill(log, 100)

    with log.reader() as reader, pytest.raises(NotFound):
        reader.read(appended[0].ref)


def test_a_closed_log_says_so(log: Log) -> None:
    ref = fill(log, 1)[0].ref
    log.close()
    log.close()

    with pytest.raises(Closed):
        log.append([Entry(b"", 1)])
    with pytest.raises(Closed):
        next(log.frames(1))
    with pytest.raises(Closed):
        log.reader().read(ref)
    with pytest.raises(Closed):
        log.recycle(1)


def test_a_reader_that_was_open_at_close_still_reads_what_it_has_pinned(log: Log) -> None:
    ref = fill(log, 1)[0].ref
    with log.reader() as reader:
        reader.pin(ref)
        log.close()
        assert reader.read(ref).startswith(b"%08d" % 1)

"""Opening the file log: torn tails, damage, former uses of segments, leftovers."""

from __future__ import annotations

import os
import random
from pathlib import Path
from uuid import UUID

import pytest
from tests.power_cut import RecordingDisk

from livespan.collector.log import Entry, FileLog, FrameRef, LogProtections, open_log
from livespan.collector.log.frame import HEADER_SIZE, frame_size
from livespan.proto.errors import Damaged, InvalidInput

KB64 = 64 << 10


def payloads(log: FileLog) -> list[bytes]:
    return [frame.payload for frame in log.frames(1)]


def segment_of(folder: Path, ref: FrameRef) -> Path:
    return folder / f"{ref.segment_id:010d}-{ref.reuse:010d}.seg"


def poke(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_torn_tail_is_cut_at_open_at_every_byte_boundary(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    kept = [b"one", b"two" * 30]
    log.append([Entry(each, 1) for each in kept])
    last = log.append([Entry(bytes(range(1, 90)), 1)])[0]
    log.close()
    path = segment_of(folder, last.ref)
    whole = path.read_bytes()
    size = HEADER_SIZE + last.ref.length
    for written in range(size):
        path.write_bytes(whole[: last.ref.offset + written].ljust(4096, b"\0"))
        log = open_log(folder, segment_bytes=4096)
        assert (payloads(log), log.next_seq, log.report.damages) == (kept, 3, ())
        # A frame has begun where magic, uuid and the one byte of reuse number 1 that is not 0
        # stand.
        assert bool(log.report.cut) == (written >= 25)
        log.append([Entry(b"anew", 1)])
        log.close()
        log = open_log(folder, segment_bytes=4096)
        assert payloads(log) == [*kept, b"anew"]
        assert (log.report.cut, log.report.damages) == ((), ())
        log.close()


@pytest.mark.parametrize("alone", [False, True])
def test_a_flipped_bit_in_the_header_of_the_last_frame_is_no_torn_tail(tmp_path: Path, alone: bool) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    before = [] if alone else [Entry(b"one", 1)]
    *_, last = log.append([*before, Entry(bytes(range(90)), 3)])
    log.close()
    path = segment_of(folder, last.ref)
    whole = path.read_bytes()
    for bit in range(HEADER_SIZE * 8):
        position = last.ref.offset + bit // 8
        path.write_bytes(whole)
        poke(path, position, bytes([whole[position] ^ 1 << bit % 8]))
        log = open_log(folder, segment_bytes=4096)
        (damage,) = log.report.damages
        assert (damage.path, damage.offset) == (path, last.ref.offset)
        assert (damage.size_bytes, damage.first_seq, damage.missing_records) == (152, last.first_seq, 3)
        assert payloads(log) == [each.payload for each in before]
        assert (log.report.cut, log.next_seq) == ((), last.first_seq + 3), "no sequence is used twice"
        log.append([Entry(b"next", 1)])
        log.close()
        log = open_log(folder, segment_bytes=4096)
        assert payloads(log) == [*[each.payload for each in before], b"next"]
        log.close()


def test_the_only_frame_of_an_older_segment_is_damage_and_no_torn_tail(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    first, second = (log.append([Entry(b"x" * 4000, 1)])[0] for _ in range(2))
    log.close()
    path = segment_of(folder, first.ref)
    assert path != segment_of(folder, second.ref)
    poke(path, 2000, b"y")
    log = open_log(folder, segment_bytes=4096)
    (damage,) = log.report.damages
    assert (damage.path, damage.offset, damage.first_seq) == (path, 0, first.first_seq)
    assert [frame.first_seq for frame in log.frames(1)] == [second.first_seq]
    log.close()


def test_a_flipped_bit_costs_its_frame_alone_and_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=KB64)
    appended = log.append([Entry(b"%04d" % index * 25, 2) for index in range(40)])
    log.close()
    victim = appended[17]
    path = segment_of(folder, victim.ref)
    whole = path.read_bytes()
    for bit in range(0, frame_size(100) * 8, 37):
        position = victim.ref.offset + bit // 8
        if position >= victim.ref.offset + HEADER_SIZE + 100:
            break  # Padding carries nothing.
        poke(path, position, bytes([whole[position] ^ 1 << bit % 8]))

        log = open_log(folder, segment_bytes=KB64)

        assert [frame.first_seq for frame in log.frames(1)] == [
            each.first_seq for each in appended if each is not victim
        ]
        (damage,) = log.report.damages
        assert (damage.path, damage.offset) == (path, victim.ref.offset)
        assert (damage.size_bytes, damage.first_seq, damage.missing_records) == (160, 35, 2)
        assert (log.report.records, log.next_seq) == (78, 81)
        assert str(victim.ref.offset) in str(damage)
        log.close()
        path.write_bytes(whole)


def test_records_missing_between_two_segments_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    appended = log.append([Entry(b"x" * 1000, 1) for _ in range(9)])
    log.close()
    first_id = appended[0].ref.segment_id
    last = [each for each in appended if each.ref.segment_id == first_id][-1]
    poke(segment_of(folder, last.ref), last.ref.offset + HEADER_SIZE, b"?")

    log = open_log(folder, segment_bytes=4096)

    (damage,) = log.report.damages
    assert (damage.first_seq, damage.missing_records) == (last.first_seq, 1)
    assert len(payloads(log)) == 8
    log.close()


def test_damage_after_open_is_skipped_by_iteration_and_raised_by_reference(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=KB64)
    first, second, third = log.append([Entry(b"x" * 100, 1)] * 3)
    poke(segment_of(folder, second.ref), second.ref.offset + 44, b"\xff\xff\xff\xff")

    assert [frame.first_seq for frame in log.frames(1)] == [first.first_seq, third.first_seq]
    assert [frame.first_seq for frame in log.frames(3)] == [third.first_seq]
    assert [damage.offset for damage in log.damages] == [second.ref.offset]
    with log.reader() as reader, pytest.raises(Damaged, match=str(second.ref.offset)):
        reader.read(second.ref)
    log.close()


def test_a_frame_inside_a_damaged_payload_is_not_taken_for_one_of_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=KB64)
    first = log.append([Entry(b"first", 1)])[0]
    copy = segment_of(folder, first.ref).read_bytes()[: frame_size(5)]
    outer = log.append([Entry(b"." * 8 + copy, 1)])[0]
    log.append([Entry(b"last", 1)])
    log.close()
    poke(segment_of(folder, outer.ref), outer.ref.offset + HEADER_SIZE, b"?")

    log = open_log(folder, segment_bytes=KB64)

    assert payloads(log) == [b"first", b"last"]
    log.close()


def test_frames_of_another_log_are_not_accepted(tmp_path: Path) -> None:
    mine = open_log(tmp_path / "mine", segment_bytes=4096)
    mine.append([Entry(b"mine", 1)])
    other = open_log(tmp_path / "other", segment_bytes=4096)
    stray = other.append([Entry(b"other", 1)])[0]
    mine.close()
    other.close()
    source = segment_of(tmp_path / "other", stray.ref)
    (tmp_path / "mine" / "0000000077-0000000001.seg").write_bytes(source.read_bytes())

    mine = open_log(tmp_path / "mine", segment_bytes=4096)

    assert payloads(mine) == [b"mine"]
    mine.close()


def use_and_free(folder: Path) -> list[int]:
    """Fill a log, recycle it, and return the sequences that are left."""
    log = open_log(folder, segment_bytes=4096, spares_kept=4)
    for index in range(12):
        log.append([Entry(b"%04d" % index * 100, 1)])
    assert log.recycle(log.next_seq) > 0
    left = [frame.first_seq for frame in log.frames(1)]
    log.close()
    return left


def test_frames_of_a_freed_segment_stay_void(tmp_path: Path) -> None:
    left = use_and_free(tmp_path / "log")

    log = open_log(tmp_path / "log", segment_bytes=4096)

    assert [frame.first_seq for frame in log.frames(1)] == left
    assert (log.report.damages, log.report.cut) == ((), ())
    log.close()


def test_without_the_reuse_number_frames_of_a_freed_segment_would_come_back(tmp_path: Path) -> None:
    left = use_and_free(tmp_path / "log")

    log = open_log(tmp_path / "log", segment_bytes=4096, protections=LogProtections(reuse_number=False))

    found = [frame.first_seq for frame in log.frames(1)]
    assert set(left) < set(found), "the protection protects from nothing"
    log.close()


def test_hundreds_of_recycles_resurrect_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    coin = random.Random(4)
    log = open_log(folder, segment_bytes=KB64, disk=RecordingDisk())
    freed = 0
    expected: dict[int, bytes] = {}
    while freed < 300:
        for _ in range(coin.randrange(1, 40)):
            payload = coin.randbytes(coin.randrange(0, 9000))
            expected[log.append([Entry(payload, 1)])[0].first_seq] = payload
        freed += log.recycle(log.next_seq - coin.randrange(0, 30))
        if coin.random() < 0.15:
            log.close()
            log = open_log(folder, segment_bytes=KB64)
            assert (log.report.damages, log.report.cut) == ((), ())
        frames = list(log.frames(1))
        sequences = [frame.first_seq for frame in frames]
        assert sequences == list(range(sequences[0], log.next_seq))
        assert all(frame.payload == expected[frame.first_seq] for frame in frames[::7])
        expected = {frame.first_seq: expected[frame.first_seq] for frame in frames}
    log.close()
    assert len(list(folder.glob("*.seg"))) < 20


def test_a_half_made_segment_is_swept(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    open_log(folder, segment_bytes=4096).close()
    (folder / "0000000009.seg.tmp").write_bytes(b"\0" * 100)

    log = open_log(folder, segment_bytes=4096)

    assert not (folder / "0000000009.seg.tmp").exists()
    log.close()


def test_a_new_segment_size_takes_effect_and_old_segments_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    log.append([Entry(b"x" * 1000, 1)] * 10)
    log.close()

    log = open_log(folder, segment_bytes=8192)
    log.append([Entry(b"y" * 7000, 1)])

    assert [len(each) for each in payloads(log)] == [1000] * 10 + [7000]
    log.close()


def test_a_log_whose_format_file_is_gone_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    log.append([Entry(b"x", 1)])
    log.close()
    path = folder / "format.json"
    good = path.read_bytes()
    path.unlink()

    log = open_log(folder, segment_bytes=4096)
    assert [(each.path, each.offset) for each in log.report.damages] == [(path, 0)]
    assert payloads(log) == [b"x"]
    assert path.read_bytes() == good
    log.close()


@pytest.mark.parametrize("damage", [(b"livespan-log", b"livespan-lof"), (b'"uuid"', b'"uuie"'), (b"{", b"\xfb")])
def test_a_damaged_format_file_is_made_anew_from_the_frames_and_reported(
    tmp_path: Path, damage: tuple[bytes, bytes]
) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    log.append([Entry(b"x", 1)])
    log.close()
    path = folder / "format.json"
    good = path.read_bytes()
    path.write_bytes(good.replace(*damage))

    log = open_log(folder, segment_bytes=4096)
    assert [each.path for each in log.report.damages] == [path]
    assert payloads(log) == [b"x"]
    assert path.read_bytes() == good
    log.close()


def test_a_uuid_that_no_frame_carries_makes_no_spares_of_the_segments(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    log.append([Entry(b"x", 1)])
    uuid = log.uuid
    log.close()
    path = folder / "format.json"
    path.write_bytes(path.read_bytes().replace(str(uuid).encode(), str(UUID(int=uuid.int ^ 1)).encode()))

    log = open_log(folder, segment_bytes=4096)
    assert (log.uuid, payloads(log)) == (uuid, [b"x"])
    assert [each.path for each in log.report.damages] == [path]
    log.close()


def test_a_format_file_that_is_damaged_where_no_frame_tells_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    log.append([Entry(b"x", 1)])
    log.close()
    for segment in folder.glob("*.seg"):
        segment.write_bytes(bytes(4096))
    (folder / "format.json").write_bytes(b"{")

    with pytest.raises(Damaged, match="does not describe a log"):
        open_log(folder, segment_bytes=4096)


def test_a_log_that_has_lost_its_end_goes_on_above_what_is_published(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    log.append([Entry(b"one", 1)])
    [lost] = log.append([Entry(b"two", 2)])
    log.close()
    [segment] = [path for path in folder.glob("*.seg") if any(path.read_bytes())]
    data = bytearray(segment.read_bytes())
    data[lost.ref.offset + 57] ^= 1
    segment.write_bytes(data)

    log = open_log(folder, segment_bytes=4096)
    assert log.report.cut == (f"{segment}@{lost.ref.offset}",)
    log.go_on_above(3)
    assert [(each.first_seq, each.missing_records) for each in log.damages] == [(2, 2)]
    assert log.append([Entry(b"three", 1)])[0].first_seq == 4
    log.go_on_above(3)
    log.close()
    log = open_log(folder, segment_bytes=4096)
    assert payloads(log) == [b"one", b"three"]
    log.close()


def test_a_reader_that_meets_a_damaged_frame_tells_the_log(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=4096)
    [appended] = log.append([Entry(b"x" * 100, 1)])
    [segment] = [path for path in (tmp_path / "log").glob("*.seg") if any(path.read_bytes())]
    with segment.open("r+b") as file:
        file.seek(80)
        file.write(b"y")
    for _ in range(2):
        with log.reader() as reader, pytest.raises(Damaged):
            reader.read(appended.ref)
    assert [(each.path, each.offset) for each in log.damages] == [(segment, 0)]
    log.close()


def test_a_log_of_a_newer_livespan_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    open_log(folder, segment_bytes=4096).close()
    path = folder / "format.json"
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))

    with pytest.raises(InvalidInput, match="newer"):
        open_log(folder, segment_bytes=4096)


def test_only_the_owner_can_read_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    log.append([Entry(b"x", 1)])
    log.close()

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_opening_makes_durable_what_a_killed_process_left_in_the_page_cache(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=4096)
    log.append([Entry(b"x", 1)])
    log.close()
    disk = RecordingDisk()

    open_log(folder, segment_bytes=4096, disk=disk).close()

    synced = [path for name, path in disk.calls if name == "sync_file"]
    assert any(os.path.getsize(path) == 4096 for path in synced)
    assert ("sync_folder", folder) in disk.calls

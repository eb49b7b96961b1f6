from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from livespan.instrumentation.spool import (
    START,
    Entry,
    Position,
    Spool,
    WriterFolder,
    WriterMeta,
    list_writers,
    remove_unborn,
)
from livespan.instrumentation.spool.folder import make_writer_folder
from livespan.instrumentation.spool.layout import HEADER_BYTES, RECORD_BYTES, record_bytes
from livespan.instrumentation.spool.quota import Quota
from livespan.instrumentation.spool.segment import Segment
from livespan.instrumentation.spool.segment_reader import SegmentReader
from livespan.instrumentation.spool.writer import SpoolWriter
from livespan.proto.errors import Damaged, InvalidInput, NotFound

MIB = 1 << 20
META = WriterMeta("unix:/run/x", os.getpid(), 0)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    return folder


def new_writer(spool: Path) -> SpoolWriter:
    writer = SpoolWriter(
        spool, "fam", meta=META, quota=Quota(spool, max_process_bytes=999 * MIB, max_home_bytes=999 * MIB)
    )
    assert writer.begin() is None
    return writer


def folder_of(writer: SpoolWriter) -> WriterFolder:
    return WriterFolder(writer.path)


def damage(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def heads(folder: WriterFolder, after: Position = START) -> list[bytes]:
    return [entry.head for entry in folder.entries(after)]


def test_a_folder_says_who_writes_it(spool: Path) -> None:
    writer = new_writer(spool)
    [folder] = list_writers(spool)
    assert (folder.family, folder.writer, folder.meta) == ("fam", writer.writer_id, META)
    assert folder.alive()
    writer.close()
    assert not folder.alive()


def test_files_are_for_their_owner_alone(spool: Path) -> None:
    writer = new_writer(spool)
    assert writer.path.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in writer.path.iterdir()} == {0o600}
    writer.close()


def test_a_torn_tail_is_not_read(spool: Path) -> None:
    writer = new_writer(spool)
    writer.append(b"whole", b"", 1)
    offset = HEADER_BYTES + record_bytes(5)
    # All of a record but its commit word.
    damage(writer.path / "00000001.seg", offset + 8, b"\x05" * 4000)
    assert heads(folder_of(writer)) == [b"whole"]
    writer.close()


@pytest.mark.parametrize("word", ["commit", "length", "seq", "kind", "head length", "head", "body"])
def test_a_changed_record_is_reported_and_the_others_are_read(spool: Path, word: str) -> None:
    writer = new_writer(spool)
    for index in range(5):
        writer.append(b"head%d" % index, b"body" * 30, 1)
    writer.close()
    size = record_bytes(5 + 120)
    offset = HEADER_BYTES + 2 * size
    at = {"commit": 5, "length": 0, "seq": 8, "kind": 16, "head length": 20, "head": 24, "body": 40}[word]
    path = writer.path / "00000001.seg"
    damage(path, offset + at, bytes([path.read_bytes()[offset + at] ^ 1]))
    folder = folder_of(writer)
    read: list[Entry] = []
    with pytest.raises(Damaged) as caught:
        read.extend(folder.entries())
    assert caught.value.subject == f"{path}@{offset}"
    assert folder.skip_damaged(caught.value) == Position(1, offset + size)
    assert heads(folder, Position(1, offset + size)) == [b"head3", b"head4"]


def test_a_zeroed_commit_word_in_a_sealed_segment_is_damage(spool: Path) -> None:
    writer = new_writer(spool)
    for index in range(3):
        writer.append(b"head%d" % index, b"", 1)
    writer.close()
    folder = folder_of(writer)
    size = record_bytes(5)
    damage(writer.path / "00000001.seg", HEADER_BYTES + size, bytes(8))
    with pytest.raises(Damaged) as caught:
        heads(folder)
    assert heads(folder, folder.skip_damaged(caught.value)) == [b"head2"]


def test_a_damaged_newest_record_does_not_hide_what_follows_it(spool: Path) -> None:
    writer = new_writer(spool)
    writer.append(b"damaged", b"", 1)
    folder = folder_of(writer)
    damage(writer.path / "00000001.seg", HEADER_BYTES + RECORD_BYTES, b"D")
    with pytest.raises(Damaged) as caught:
        heads(folder)
    position = folder.skip_damaged(caught.value)
    writer.append(b"next", b"", 1)
    assert heads(folder, position) == [b"next"]
    writer.close()


def test_a_truncated_or_foreign_segment_is_damage_and_not_a_crash(spool: Path) -> None:
    writer = new_writer(spool)
    writer.close()
    folder = folder_of(writer)
    path = writer.path / "00000001.seg"
    whole = path.read_bytes()
    for data in (whole[:4096], whole[:10], b"LSPOOL\x00\x02" + whole[8:], b""):
        path.write_bytes(data)
        with pytest.raises(Damaged) as caught:
            folder.open(1)
        assert caught.value.subject == f"{path}@0"
        assert folder.skip_damaged(caught.value) == Position(2, 0)


def test_the_watermark_never_goes_back(spool: Path) -> None:
    writer = new_writer(spool)
    folder = folder_of(writer)
    assert folder.watermark() == START
    assert folder.advance(Position(3, 64))
    assert not folder.advance(Position(2, 1 << 30))
    assert not folder.advance(Position(3, 64))
    assert folder.watermark() == Position(3, 64)
    assert folder_of(writer).watermark() == Position(3, 64)
    writer.close()


@pytest.mark.parametrize("at", [0, 3, 8, 12])
def test_a_damaged_watermark_is_not_believed_and_all_is_sent_again(spool: Path, at: int) -> None:
    writer = new_writer(spool)
    writer.append(b"one", b"", kind=1)
    folder = folder_of(writer)
    [entry] = folder.entries()
    assert folder.advance(entry.end)
    assert folder.watermark() == entry.end
    path = folder.path / "ack"
    byte = path.read_bytes()[at] ^ 0x40
    damage(path, at, bytes([byte]))
    assert folder.watermark() == START
    assert folder.advance(entry.end), "the next acknowledgement mends it"
    assert folder.watermark() == entry.end
    folder.close()


def test_only_sealed_and_acknowledged_segments_of_the_living_are_removed(spool: Path) -> None:
    writer = new_writer(spool)
    folder = folder_of(writer)
    for _ in range(15):
        assert writer.append(b"", b"x" * 100_000, 1)
    assert folder.segments() == [1, 2]
    read = list(folder.entries())
    boundary = next(i for i, e in enumerate(read) if e.segment == 2)
    folder.advance(read[boundary - 2].end)
    assert not folder.removable(1)
    folder.advance(read[boundary - 1].end)
    assert folder.removable(1)
    folder.advance(read[-1].end)
    assert not folder.removable(2)
    assert not folder.remove_finished()
    assert folder.segments() == [2]
    # What the writer goes on to write is still found.
    writer.append(b"after", b"", 1)
    assert heads(folder, folder.watermark()) == [b"after"]
    writer.close()


def test_news_are_told_from_none_without_opening_anything_again(spool: Path) -> None:
    writer = new_writer(spool)
    folder = folder_of(writer)
    assert folder.has_news(), "nothing was acknowledged yet, so it must be looked for"
    writer.append(b"1", b"", 1)
    [first] = folder.entries()
    folder.advance(first.end)
    assert not folder.has_news()
    writer.append(b"2", b"", 1)
    assert folder.has_news()
    [second] = folder.entries(folder.watermark())
    folder.advance(second.end)
    assert not folder.has_news()
    writer.append(b"3", b"x" * (2 * MIB), 1)
    assert folder.has_news(), "the segment is sealed: the writer has gone on in another"
    folder.advance(list(folder.entries(folder.watermark()))[-1].end)
    assert not folder.has_news()
    folder.close()
    writer.close()


def test_a_dead_writers_folder_goes_when_all_is_acknowledged(spool: Path) -> None:
    writer = new_writer(spool)
    writer.append(b"1", b"", 1)
    writer.append(b"2", b"", 1)
    writer.close()
    folder = folder_of(writer)
    first, second = folder.entries()
    folder.advance(first.end)
    assert not folder.remove_finished()
    folder.advance(second.end)
    assert folder.remove_finished()
    assert list_writers(spool) == []
    with pytest.raises(NotFound):
        folder.watermark()


def test_a_spare_segment_that_was_passed_over_does_not_stop_the_reader(spool: Path) -> None:
    writer = new_writer(spool)
    folder = folder_of(writer)
    writer.append(b"1", b"", 1)
    # A keeper that died between making a spare and handing it over.
    assert writer.spare_wanted()
    assert writer.prepare_spare() is not None
    assert writer.append(b"2", b"x" * (2 * MIB), 1)
    assert folder.segments() == [1, 2, 65]
    assert heads(folder) == [b"1", b"2"]
    writer.close()


def test_a_spare_made_late_comes_after_what_was_made_meanwhile(spool: Path) -> None:
    writer = new_writer(spool)
    assert writer.spare_wanted()
    late = writer.prepare_spare()
    assert writer.append(b"1", b"x" * (2 * MIB), 1)
    assert writer.append(b"2", b"x" * (2 * MIB), 1)
    assert writer.offer(late)
    assert writer.append(b"3", b"x" * MIB, 1)
    folder = folder_of(writer)
    assert folder.segments() == [1, 2, 3, 65]
    assert [(entry.segment, entry.head) for entry in folder.entries()] == [(2, b"1"), (3, b"2"), (65, b"3")]
    writer.close()


def test_a_spare_made_so_late_that_the_stream_has_passed_it_is_not_taken(spool: Path) -> None:
    writer = new_writer(spool)
    assert writer.spare_wanted()
    late = writer.prepare_spare()
    assert late is not None
    for _ in range(65):
        assert writer.append(b"", b"x" * 600_000, 1)
    assert not writer.offer(late)
    late.remove()
    numbers = folder_of(writer).segments()
    assert numbers == [*range(1, 65), 66]
    writer.close()


def test_a_segment_that_is_being_made_is_not_listed(spool: Path) -> None:
    writer = new_writer(spool)
    Segment.prepare(writer.path, 2, MIB)
    assert folder_of(writer).segments() == [1]
    writer.close()


def test_folders_of_others_are_refused(spool: Path, tmp_path: Path) -> None:
    writer = new_writer(spool)
    writer.path.chmod(0o770)
    with pytest.raises(InvalidInput, match="others may write"):
        list_writers(spool)
    writer.path.chmod(0o700)
    spool.chmod(0o777)
    with pytest.raises(InvalidInput, match="others may write"):
        list_writers(spool)
    with pytest.raises(InvalidInput, match="others may write"):
        Spool(spool, "fam", endpoint="", max_bytes_process=MIB, max_bytes_home=MIB)
    spool.chmod(0o700)
    (tmp_path / "link").symlink_to(spool)
    with pytest.raises(InvalidInput, match="not a link"):
        list_writers(tmp_path / "link")
    writer.close()


def test_a_segment_that_is_a_link_is_not_followed(spool: Path, tmp_path: Path) -> None:
    writer = new_writer(spool)
    segment = writer.path / "00000001.seg"
    segment.rename(tmp_path / "elsewhere")
    segment.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Damaged):
        folder_of(writer).open(1)
    writer.close()


def test_a_spool_that_is_not_there_has_no_writers(tmp_path: Path) -> None:
    assert list_writers(tmp_path / "none") == []


def test_folders_whose_making_was_cut_short_are_removed_after_a_minute(spool: Path) -> None:
    made = make_writer_folder(spool, "fam-0123456789abcdef", META)
    made.hold.release()
    unborn = spool / ".fam-0123456789abcdef.tmp"
    made.path.rename(unborn)
    assert remove_unborn(spool) == 0
    os.utime(unborn, (0, 0))
    assert remove_unborn(spool) == 1
    assert not unborn.exists()


def test_a_segment_made_while_the_reader_stood_in_the_one_before_it_is_read(spool: Path) -> None:
    """The reader has seen the keeper's spare, which comes after what the agent's thread makes in the meantime."""
    writer = new_writer(spool)
    folder = folder_of(writer)
    for _ in range(9):
        writer.append(b"", b"x" * 100_000, 1)
    assert writer.spare_wanted()
    late = writer.prepare_spare()
    reading = folder.entries()
    read = [next(reading)]
    for _ in range(9):
        writer.append(b"", b"x" * 100_000, 1)
    assert writer.offer(late)
    for _ in range(9):
        writer.append(b"", b"x" * 100_000, 1)
    read += reading
    assert [entry.seq for entry in read] == list(range(1, 28))
    assert sorted({entry.segment for entry in read}) == [1, 2, 65]
    folder.advance(read[-1].end)
    assert not list(folder.entries(folder.watermark()))
    writer.close()


def test_what_is_appended_between_the_last_look_and_the_seal_is_read(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(spool)
    folder = folder_of(writer)
    writer.append(b"", b"x" * 100_000, 1)
    writer.spare_wanted()
    writer.offer(writer.prepare_spare())
    entries = SegmentReader.entries
    looks: list[int] = []

    def interrupted(reader: SegmentReader, offset: int = 0) -> Iterator[Entry]:
        yield from entries(reader, offset)
        looks.append(offset)
        if len(looks) == 1:
            for _ in range(20):
                writer.append(b"", b"x" * 100_000, 1)

    monkeypatch.setattr(SegmentReader, "entries", interrupted)
    assert [entry.seq for entry in folder.entries()] == list(range(1, 22))
    writer.close()


def test_a_spare_that_covers_what_was_promised_is_not_given_up_for_a_smaller_one(spool: Path) -> None:
    writer = new_writer(spool)
    assert writer.spare_wanted()
    late = writer.prepare_spare()
    assert late is not None
    assert writer.append(b"", b"", 1, reserve=6 * MIB)
    assert not writer.offer(late)
    late.remove()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segment, "prepare", _no_space)
        assert writer.append(b"end", b"x" * (6 * MIB - 3), 1, consumes=6 * MIB)
    writer.close()


def _no_space(folder: Path, number: int, size: int) -> Segment:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

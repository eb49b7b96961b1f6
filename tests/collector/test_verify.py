"""`livespan verify` on homes in which one thing is wrong: it is named, with file and offset, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
from pathlib import Path

import duckdb
import pytest
from tests.collector.stand import Stand, Writer, node
from tests.instrumentation.spooled import append, append_refused, open_spool
from tests.livespan_home import LiveHome

import livespan.instrumentation as ls
from livespan.collector.cli import livespan, run_command
from livespan.collector.commands.verify import verified
from livespan.collector.log import Entry, open_log
from livespan.collector.settings import CollectorSettings
from livespan.collector.verification import verify
from livespan.collector.verification.file_reader import FileReader
from livespan.collector.verification.log import LogReading, read_log
from livespan.instrumentation.spool import list_writers
from livespan.instrumentation.verification import verify as verify_spool
from livespan.proto.home import Home
from livespan.proto.verified import Fault, Verified


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that a collector has left: three publications, frames in the log, and a spool with a living writer."""
    home = Home(tmp_path / "h")
    home.create()
    stand = Stand(home.root)
    writer = Writer()
    for number in range(1, 4):
        given = json.dumps(random.Random(number).randbytes(20_000).hex()).encode()
        stand.send(writer.started(node(number), given=given))
        stand.send(writer.ended(node(number)), writer.checkpoint(number, random.Random(-number).randbytes(30_000)))
        stand.publish()
    stand.send(writer.started(node(9)))
    stand.crash()
    return home


def flip(path: Path, at: int, bit: int = 3) -> None:
    """Flip one bit of a file in place."""
    with path.open("r+b") as file:
        file.seek(at)
        [byte] = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def parts(home: Home) -> dict[str, Verified]:
    return {part.name: part for _, part in verified(home)}


def faults(home: Home) -> list[Fault]:
    return [fault for part in parts(home).values() for fault in part.faults]


def log(home: Home) -> LogReading:
    return read_log(home.log, served=False)


def spool(home: Home) -> Verified:
    [found] = verify_spool(home)
    return found


def log_segment(home: Home) -> Path:
    [found] = [path for path in home.log.glob("*.seg") if any(path.read_bytes()[:4096])]
    return found


def test_a_sound_home_has_no_fault_and_is_not_changed(home: Home) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in home.root.rglob("*") if path.is_file()}
    found = parts(home)
    assert list(found) == ["log", "lake content", "lake nodes", "lake views", "spool"]
    assert not [part for part in found.values() if part.faults or part.notes]
    assert found["log"].checked.endswith(" segments, 7 frames, 10 records, log_seq 1 to 10")
    assert "3 files, 6 values, watermark 9" in found["lake content"].checked
    assert "3 files, 6 rows, watermark 9" in found["lake nodes"].checked
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in home.root.rglob("*") if path.is_file()}
    assert after == before


def test_an_empty_home_is_sound(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    home.create()
    assert faults(home) == []
    assert parts(home)["log"].notes == ("There is no log yet.",)


@pytest.mark.parametrize("at", [3, 30, 34, 45, 50, 200])
def test_a_bit_in_a_frame_is_named_with_segment_and_offset(home: Home, at: int) -> None:
    segment = log_segment(home)
    second = segment.read_bytes().index(b"LSFRAME\n", 8)
    flip(segment, second + at)
    [fault] = log(home).faults
    assert (fault.file, fault.offset) == (str(segment), second)
    assert "2 records from 2 on are missing" in fault.what
    assert fault.hint


def test_a_bit_in_the_newest_frame_cannot_be_told_from_a_torn_tail(home: Home) -> None:
    segment = log_segment(home)
    last = segment.read_bytes().rindex(b"LSFRAME\n")
    flip(segment, last + 100)
    found = log(home)
    assert found.faults == []
    assert found.notes[0].startswith(f"{segment}@{last}: a frame that is not whole ends the log")


@pytest.mark.parametrize("at", [3, 25, 27, 34, 45, 50])
def test_a_bit_in_the_header_of_the_newest_frame_is_a_fault(home: Home, at: int) -> None:
    segment = log_segment(home)
    last = segment.read_bytes().rindex(b"LSFRAME\n")
    flip(segment, last + at)
    [fault] = log(home).faults
    assert (fault.file, fault.offset) == (str(segment), last)


def test_the_only_frame_of_an_older_segment_is_named(tmp_path: Path) -> None:
    written = open_log(tmp_path / "log", segment_bytes=4096)
    for _ in range(2):
        written.append([Entry(b"x" * 4000, 1)])
    written.close()
    [first, _] = sorted((tmp_path / "log").glob("*1.seg"))[:2]
    flip(first, 2000)
    [fault] = read_log(tmp_path / "log", served=True).faults
    assert (fault.file, fault.offset) == (str(first), 0)


def test_a_pointer_to_a_checkpoint_that_is_not_there_is_named(home: Home) -> None:
    pointer = home.lake / "nodes" / "_delta_log" / "_last_checkpoint"
    pointer.write_text('{"version":40,"size":3}')
    [fault] = [fault for fault in faults(home) if fault.file == str(pointer)]
    assert fault.offset == 0


def test_a_log_that_lost_what_is_published_is_a_fault(home: Home) -> None:
    segment = log_segment(home)
    data = segment.read_bytes()
    for at in [place for place in range(0, len(data), 8) if data.startswith(b"LSFRAME\n", place)][-2:]:
        flip(segment, at + 100)
    found = parts(home)
    assert "up to 9, and the log ends at 7" in found["lake nodes"].faults[0].what
    assert found["lake nodes"].faults[0].file == str(home.lake / "nodes")


def test_a_segment_that_is_gone_leaves_a_hole_that_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    home.create()
    stand = Stand(home.root)
    writer = Writer()
    for number in range(1, 60):
        stand.send(writer.started(node(number), given=json.dumps("x" * 60_000).encode()))
    stand.crash()
    by_first = sorted(home.log.glob("*.seg"), key=lambda path: int.from_bytes(path.read_bytes()[32:40], "little"))
    used = [path for path in by_first if any(path.read_bytes()[:8])]
    assert len(used) >= 3
    os.remove(used[1])
    [fault] = [fault for fault in log(home).faults if "are missing before" in fault.what]
    assert fault.file == str(used[2])


def test_a_bit_in_the_logs_uuid_is_named(home: Home) -> None:
    path = home.log / "format.json"
    text = path.read_bytes()
    uuid_at = text.index(b'"uuid":"') + len(b'"uuid":"')
    # All but `a` and `f` stay hexadecimal digits: the file can be read, and says another log's name.
    flip(path, next(at for at in range(uuid_at, uuid_at + 36) if chr(text[at]) in "0123456789bcde"), bit=0)
    named = {(fault.file, fault.offset) for fault in log(home).faults}
    assert (str(log_segment(home)), 8) in named


def test_a_format_file_that_cannot_be_read_is_named(home: Home) -> None:
    path = home.log / "format.json"
    flip(path, 0)
    assert str(path) in {fault.file for fault in log(home).faults}


@pytest.mark.parametrize("table", ["nodes", "content"])
def test_a_bit_in_a_page_is_named_with_file_and_offset(home: Home, table: str) -> None:
    path = sorted((home.lake / table).glob("*.parquet"))[1]
    size = path.stat().st_size
    at = size // 2 if table == "content" else 600
    flip(path, at)
    found = [fault for fault in parts(home)[f"lake {table}"].faults if "It is damaged: column" in fault.what]
    assert found
    assert {fault.file for fault in found} == {str(path)}
    assert all(fault.offset is not None and fault.offset <= at for fault in found)


@pytest.mark.parametrize("table", ["nodes", "content"])
def test_a_bit_in_the_footer_is_named(home: Home, table: str) -> None:
    path = sorted((home.lake / table).glob("*.parquet"))[0]
    flip(path, path.stat().st_size - 6)
    assert any(fault.file == str(path) and "footer" in fault.what for fault in faults(home))


def test_a_file_that_ends_its_reader_is_damaged_and_the_next_one_is_read(home: Home) -> None:
    first, second = sorted((home.lake / "nodes").glob("*.parquet"))[:2]
    with FileReader() as reader:
        assert reader.read(first) == []
        child = reader._child  # pyright: ignore[reportPrivateUsage]  # as a broken footer ends it, in C++
        assert child is not None
        os.kill(child.pid, signal.SIGABRT)
        assert [one.failure for one in reader.read(second)] == ["its footer ends its reader (exit status -6)"]
        assert reader.read(second) == []


def test_a_file_that_the_table_names_and_is_gone_is_named_and_so_is_what_its_nodes_lack(home: Home) -> None:
    path = sorted((home.lake / "content").glob("*.parquet"))[0]
    os.remove(path)
    found = parts(home)
    assert [(fault.file, fault.what) for fault in found["lake content"].faults] == [
        (str(path), "It is damaged: it is not there.")
    ]
    lost = [fault.what for fault in found["lake nodes"].faults]
    assert len(lost) == 2
    assert any("its state is not in the content table" in what for what in lost)
    assert any("its input is not in the content table" in what for what in lost)


def test_content_that_is_not_what_its_digest_says_is_named(home: Home) -> None:
    path = sorted((home.lake / "content").glob("*.parquet"))[0]
    changed = path.with_suffix(".changed")
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * REPLACE (bytes || '!'::BLOB AS bytes) FROM read_parquet('{path}')) TO '{changed}' "
            "(FORMAT parquet)"
        )
    changed.replace(path)
    assert any("it was sealed with" in fault.what for fault in parts(home)["lake content"].faults)
    shutil.rmtree(path.parent / "_seals")  # as in a lake from before there were any
    what = [fault.what for fault in parts(home)["lake content"].faults]
    assert sum("does not have the digest" in each for each in what) == 2
    assert sum("bytes, and the table's log says" in each for each in what) == 1


@pytest.mark.parametrize("table", ["nodes", "content"])
def test_a_bit_in_a_commit_is_named_with_the_line_that_it_broke(home: Home, table: str) -> None:
    commits = sorted((home.lake / table / "_delta_log").glob("*.json"))
    data = commits[1].read_bytes()
    second_line = data.index(b"\n") + 1
    flip(commits[1], second_line)
    found = [fault for fault in faults(home) if fault.file == str(commits[1])]
    assert [fault.offset for fault in found] == [second_line]


def test_a_commit_that_is_gone_is_named(home: Home) -> None:
    commits = sorted((home.lake / "nodes" / "_delta_log").glob("*.json"))
    os.remove(commits[1])
    assert [(fault.file, fault.what) for fault in parts(home)["lake nodes"].faults] == [
        (str(commits[1]), "This commit is missing, and later ones follow.")
    ]


def test_a_bit_in_a_tables_checkpoint_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    home.create()
    stand = Stand(home.root)
    writer = Writer()
    for _ in range(1, 22):
        stand.send(writer.lease("granted"))
        stand.publish()
    stand.crash()
    log = home.lake / "nodes" / "_delta_log"
    [checkpoint] = log.glob("*.checkpoint.parquet")
    assert faults(home) == []
    flip(checkpoint, checkpoint.stat().st_size - 6)
    assert str(checkpoint) in {fault.file for fault in faults(home)}
    flip(checkpoint, checkpoint.stat().st_size - 6)
    flip(log / "_last_checkpoint", 0)
    assert [(fault.file, fault.offset) for fault in faults(home)] == [(str(log / "_last_checkpoint"), 0)]


def test_records_that_are_in_neither_log_nor_lake_are_a_fault(home: Home) -> None:
    newest = sorted((home.lake / "nodes" / "_delta_log").glob("*.json"))
    for path in [*newest[1:], *(home.lake / "nodes" / "_seals").iterdir()]:
        os.remove(path)
    segment = log_segment(home)
    data = segment.read_bytes()
    frames = [place for place in range(0, len(data), 8) if data.startswith(b"LSFRAME\n", place)]
    with segment.open("r+b") as file:  # as if what lies before the last frame had been let go of
        file.write(data[frames[-1] :] + bytes(frames[-1]))
    assert any(
        "begins at record 10, and the table ends at 0" in fault.what and fault.file == str(home.log)
        for fault in faults(home)
    )


def test_a_bit_in_views_sql_is_named_with_its_offset(home: Home) -> None:
    views = home.lake / "views.sql"
    flip(views, 100)
    [fault] = faults(home)
    assert (fault.file, fault.offset) == (str(views), 100)


def test_views_that_name_the_files_of_an_older_commit_are_a_fault(home: Home) -> None:
    views = home.lake / "views.sql"
    last = sorted((home.lake / "nodes").glob("*.parquet"))[-1]
    views.write_text(views.read_text().replace(f",\n    '{last}'", ""))
    [fault] = faults(home)
    assert fault.file == str(views)


def test_views_of_another_version_over_the_same_files_are_no_damage(home: Home) -> None:
    views = home.lake / "views.sql"
    head, _, body = views.read_text().partition("\n")[2].partition("\n")
    older = body.replace("CREATE OR REPLACE VIEW effects", "CREATE OR REPLACE VIEW side_effects")
    words = head.replace(hashlib.sha256(body.encode()).hexdigest(), hashlib.sha256(older.encode()).hexdigest())
    views.write_text(f"{views.read_text().partition(chr(10))[0]}\n{words}\n{older}")
    [part] = [part for part in verify(home) if part.name == "lake views"]
    told = "Another version of Livespan wrote them, over the files of the last commits."
    assert (part.faults, part.notes) == ((), (told,))
    flip(views, 3000)
    [fault] = faults(home)
    assert fault.file == str(views)


@pytest.mark.parametrize("name", ["elsewhere", "it's [a] *place?"])
def test_a_home_that_was_moved_is_sound_and_its_views_are_written_anew_at_the_next_start(home: Home, name: str) -> None:
    moved = Home(home.root.parent / name)
    home.root.rename(moved.root)
    assert faults(moved) == []
    [told] = parts(moved)["lake views"].notes
    assert told.startswith("views.sql names the files of the last commits at another place")
    views = moved.lake / "views.sql"
    for at in (100, 3000):
        flip(views, at)
        assert [fault.file for fault in faults(moved)] == [str(views)]
        flip(views, at)
    stand = Stand(moved.root)
    stand.publish()
    stand.crash()
    assert parts(moved)["lake views"] == Verified("lake views", "views.sql", (), ())
    last = sorted((moved.lake / "nodes").glob("*.parquet"))[-1]
    assert str(last.name) in views.read_text()


def test_views_of_a_moved_home_over_an_older_commit_are_a_fault(home: Home) -> None:
    views = home.lake / "views.sql"
    older = views.read_text()
    stand = Stand(home.root)
    stand.send(Writer(run_id="later", name="w2").ended(node(1)))
    stand.publish()
    stand.crash()
    views.write_text(older)
    moved = Home(home.root.parent / "elsewhere")
    home.root.rename(moved.root)
    [fault] = faults(moved)
    assert fault.file == str(moved.lake / "views.sql")


def test_a_bit_anywhere_in_a_files_bloom_filters_footer_and_statistics_is_seen(home: Home) -> None:
    file = sorted((home.lake / "nodes").glob("*.parquet"))[0]
    size = file.stat().st_size
    footer = int.from_bytes(file.read_bytes()[-8:-4], "little") + 8
    for at in [size - footer - 40, *random.Random(1).sample(range(size - footer, size), 3)]:
        flip(file, at)
        assert str(file) in [fault.file for part in verify(home) for fault in part.faults], at
        flip(file, at)
    assert faults(home) == []


def spool_segment(home: Home) -> Path:
    return next(path for path in sorted(home.spool.glob("*/*.seg")) if path.read_bytes()[64:72] != bytes(8))


@pytest.mark.parametrize("at", [64, 72, 80, 100])
def test_a_bit_in_a_spooled_record_is_named_and_the_others_are_read(home: Home, at: int) -> None:
    writing = open_spool(home.spool)
    append(writing, "r", 1, 2, 3, body=b"x" * 1000)
    segment = spool_segment(home)
    assert spool(home).checked.endswith(" segments, 3 records, 3 of them not acknowledged yet")
    flip(segment, at)
    found = spool(home)
    assert [(fault.file, fault.offset) for fault in found.faults] == [(str(segment), 64)]
    assert "2 records" in found.checked
    writing.close()


def test_a_bit_in_a_spool_segments_header_is_named(home: Home) -> None:
    writing = open_spool(home.spool)
    append(writing, "r", 1)
    segment = spool_segment(home)
    writing.close()
    flip(segment, 0)
    assert [(fault.file, fault.offset) for fault in spool(home).faults] == [(str(segment), 0)]


@pytest.mark.parametrize("at", [0, 2000])
def test_a_bit_in_a_watermark_is_named(home: Home, at: int) -> None:
    writing = open_spool(home.spool)
    append(writing, "r", 1)
    [writer] = list_writers(home.spool)
    [entry] = list(writer.entries())
    writer.advance(entry.end)
    writer.close()
    assert spool(home).faults == ()
    writing.close()
    ack = next(home.spool.glob("*/ack"))
    flip(ack, at)
    assert [(fault.file, fault.offset) for fault in spool(home).faults] == [(str(ack), 0)]


def test_refused_records_are_counted(home: Home) -> None:
    kept = home.spool / "refused"
    kept.mkdir()
    (kept / "w-1").write_bytes(b"x")
    writing = open_spool(home.spool)
    append_refused(writing, "r", 1)
    writing.close()
    assert spool(home).notes == (f"1 records that the collector refused for good are kept in {kept}.",)


def run(*words: str) -> int:
    return run_command(livespan, ["verify", *words])


def test_the_command_says_where_and_what_and_ends_with_6(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--home", str(home.root)) == 0
    assert "Sound." in capsys.readouterr().err
    views = home.lake / "views.sql"
    flip(views, 100)
    assert run("--home", str(home.root)) == 6
    out, err = capsys.readouterr()
    assert f"{views}@100" in out
    assert "1 place not as it was written" in err
    assert run("--home", str(home.root), "-o", "json") == 6
    told = json.loads(capsys.readouterr().out)
    assert (list(told), told["sound"]) == (["home", "sound", "parts"], False)
    [fault] = [fault for part in told["parts"] for fault in part["faults"]]
    assert (fault["file"], fault["offset"], list(fault)) == (str(views), 100, ["file", "offset", "what", "hint"])
    assert run("--home", str(home.root), "-o", "jsonl") == 6
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == ["log", "lake content", "lake nodes", "lake views", "spool"]


def test_only_a_home_that_is_there_can_be_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--home", str(tmp_path / "nowhere")) == 3
    assert run("--endpoint", "localhost:1") == 2
    assert capsys.readouterr().out == ""


def test_a_verifier_that_breaks_does_not_hide_the_others(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_home: Home) -> object:
        raise RuntimeError("no idea")

    monkeypatch.setattr("livespan.instrumentation.verification.verify", broken)
    found = parts(home)
    assert found["lake nodes"].faults == ()
    assert "no idea" in found["instrumentation"].faults[0].what


def test_beside_a_busy_collector_nothing_is_taken_for_damage(live: LiveHome) -> None:
    live.serve(CollectorSettings(segment_bytes=64 << 10, publish_s=0.05))
    with live.run("busy"):
        for _ in range(3):
            for number in range(40):
                work(number)
            ls.checkpoint(os.urandom(9000))
            found = parts(live.home)
            assert [fault for part in found.values() for fault in part.faults] == []
            assert "A collector serves this home" in found["log"].notes[0]


@ls.step
def work(number: int) -> str:
    return "x" * number * 1000

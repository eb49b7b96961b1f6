"""Seals: a table's log is put back from them, and a file that is not as it was sealed is never told of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.collector.stand import Stand, Writer, node
from xxhash import xxh3_64_intdigest

from livespan.collector.lake.seals import Sealed
from livespan.collector.lake.sound import SoundFiles
from livespan.collector.lake.table import LakeFile
from livespan.proto.errors import Damaged

RUNS = ("alpha", "mid", "omega")


def publish(folder: Path, commits: int) -> Stand:
    """Publish one node of each run with each commit; return the stand, which still lives."""
    stand = Stand(folder)
    for number in range(1, commits + 1):
        for run in RUNS:
            writer = Writer(run_id=run, name=f"{run}{number}")
            stand.send(writer.started(node(number)), writer.ended(node(number), b'"%d"' % number))
        stand.publish()
    return stand


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def told(stand: Stand) -> list[tuple[object, ...]]:
    return stand.rows("SELECT run_id, log_seq, output FROM records ORDER BY log_seq")


@pytest.mark.parametrize("what", [b'"add"', b"part-", b'"version":', b'"appId"', b'"size"'])
def test_a_changed_commit_is_put_back_and_no_file_or_record_is_lost_or_doubled(tmp_path: Path, what: bytes) -> None:
    stand = publish(tmp_path, 3)
    before = told(stand)
    stand.crash()
    log = tmp_path / "lake" / "nodes" / "_delta_log"
    path = next(path for path in sorted(log.glob("*.json"), reverse=True) if what in path.read_bytes())
    good = path.read_bytes()
    flip(path, good.index(what) + len(what) - 2)
    stand = Stand(tmp_path)
    assert path.read_bytes() == good
    stand.publish(last=True)
    assert told(stand) == before
    stand.crash()


def test_a_commit_that_is_gone_is_put_back(tmp_path: Path) -> None:
    stand = publish(tmp_path, 3)
    before = told(stand)
    stand.crash()
    [*_, last] = sorted((tmp_path / "lake" / "nodes" / "_delta_log").glob("*.json"))
    last.unlink()
    stand = Stand(tmp_path)
    stand.publish(last=True)
    assert told(stand) == before
    stand.crash()


def test_a_changed_checkpoint_is_put_back_and_its_seal_stands_for_all_before(tmp_path: Path) -> None:
    stand = publish(tmp_path, 22)
    before = told(stand)
    stand.crash()
    table = tmp_path / "lake" / "nodes"
    assert min(int(path.stem) for path in (table / "_seals").iterdir()) == 20
    [checkpoint] = (table / "_delta_log").glob("*.checkpoint.parquet")
    good = checkpoint.read_bytes()
    flip(checkpoint, len(good) // 2)
    stand = Stand(tmp_path)
    assert checkpoint.read_bytes() == good
    assert told(stand) == before
    assert all(file.sealed for file in stand.hot.files().nodes)
    stand.crash()


@pytest.mark.parametrize("sealed", [True, False])
def test_a_pointer_to_a_checkpoint_that_is_not_there_is_put_back_or_goes(tmp_path: Path, sealed: bool) -> None:
    stand = publish(tmp_path, 22)
    before = told(stand)
    stand.crash()
    table = tmp_path / "lake" / "nodes"
    pointer = table / "_delta_log" / "_last_checkpoint"
    good = pointer.read_bytes()
    assert b'"version":20' in good
    pointer.write_bytes(good.replace(b'"version":20', b'"version":60'))
    if not sealed:
        shutil.rmtree(table / "_seals")
    stand = Stand(tmp_path)
    assert (pointer.read_bytes() if pointer.exists() else b"") == (good if sealed else b"")
    assert told(stand) == before
    stand.crash()


def test_a_damaged_seal_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stand = publish(tmp_path, 3)
    before = told(stand)
    stand.crash()
    [*_, seal] = sorted((tmp_path / "lake" / "nodes" / "_seals").iterdir())
    flip(seal, 40)
    stand = Stand(tmp_path)
    assert "seal damaged" in caplog.text
    assert told(stand) == before
    assert all(file.sealed for file in stand.hot.files().nodes)
    stand.crash()


def test_a_damaged_file_is_told_of_by_nobody_and_holds_up_no_run_that_it_lacks(tmp_path: Path) -> None:
    stand = publish(tmp_path, 1)
    writer = Writer(run_id="beta")
    stand.send(writer.started(node(9)), writer.ended(node(9), b'"nine"'))
    stand.publish()
    stand.crash()
    first, _ = sorted((tmp_path / "lake" / "nodes").glob("*.parquet"))
    flip(first, 700, bit=3)
    stand = Stand(tmp_path)
    with pytest.raises(Damaged, match="not as it was published") as raised:
        stand.history.run("shop", "mid")
    assert raised.value.subject == str(first)
    assert raised.value.hint
    history = stand.history.run("shop", "beta")  # lies within the bounds of the damaged file
    assert history is not None
    with pytest.raises(Damaged):
        stand.publisher.snapshot()
    stand.send(writer.started(node(10)), writer.ended(node(10)))
    stand.publish()  # goes on
    flip(first, 700, bit=3)
    assert stand.history.run("shop", "mid") is not None  # put back: seen by its inode
    assert len(stand.publisher.snapshot().nodes) == 3
    stand.crash()


def test_what_was_found_of_a_file_is_forgotten_with_the_file(tmp_path: Path) -> None:
    found = SoundFiles()
    sealed = Sealed(xxh3_64_intdigest(b"right"), ("r",))
    files = [LakeFile(tmp_path / name, "r", "r", sealed=sealed) for name in ("a", "b")]
    for file in files:
        file.path.write_bytes(b"wrong")
        assert not found.is_sound(file)
    assert found.damaged(files) == [file.path for file in files]
    found.keep(files[:1])
    assert found.damaged(files) == [files[0].path]

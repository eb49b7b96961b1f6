"""The double that forgets what was not synced: a test that leans on it is worth what it forgets."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.power_cut import ForgetfulDisk, PowerIsCutError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "lake").mkdir(parents=True)
    (root / "old").write_bytes(b"old")
    return root


def sync(disk: ForgetfulDisk, path: Path) -> None:
    fd = os.open(path, os.O_WRONLY)
    disk.sync_file(fd, path)
    os.close(fd)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_was_there_at_the_start_stays(root: Path) -> None:
    disk = ForgetfulDisk(root)
    disk.cut()
    assert tree(root) == {"old": b"old"}
    assert (root / "lake").is_dir()


def test_a_file_needs_its_own_sync_and_its_folders(root: Path) -> None:
    disk = ForgetfulDisk(root)
    for name in ("neither", "file", "folder", "both"):
        folder = root / "lake" / name
        folder.mkdir()
        (folder / "f").write_bytes(b"bytes")
        if name in ("file", "both"):
            sync(disk, folder / "f")
        if name in ("folder", "both"):
            disk.sync_folder(folder)
    disk.sync_folder(root / "lake")

    disk.cut()

    assert tree(root / "lake") == {"folder/f": b"", "both/f": b"bytes"}


def test_a_file_of_a_folder_whose_name_is_not_durable_is_gone(root: Path) -> None:
    disk = ForgetfulDisk(root)
    folder = root / "lake" / "table"
    folder.mkdir()
    (folder / "f").write_bytes(b"bytes")
    sync(disk, folder / "f")
    disk.sync_folder(folder)

    disk.cut()

    assert tree(root / "lake") == {}


def test_bytes_written_after_the_sync_are_forgotten(root: Path) -> None:
    disk = ForgetfulDisk(root)
    (root / "old").write_bytes(b"new")
    sync(disk, root / "old")
    (root / "old").write_bytes(b"newer")

    disk.cut()

    assert tree(root) == {"old": b"new"}


def test_renames_and_removals_are_forgotten_without_a_sync_of_the_folder(root: Path) -> None:
    disk = ForgetfulDisk(root)
    (root / "tmp").write_bytes(b"new")
    sync(disk, root / "tmp")
    disk.replace(root / "tmp", root / "old")
    disk.cut()
    assert tree(root) == {"old": b"old"}

    disk = ForgetfulDisk(root)
    disk.remove(root / "old")
    disk.cut()
    assert tree(root) == {"old": b"old"}

    disk = ForgetfulDisk(root)
    disk.remove(root / "old")
    disk.sync_folder(root)
    disk.cut()
    assert tree(root) == {}


def test_the_coin_keeps_some_of_what_was_not_synced_and_a_rename_whole(root: Path) -> None:
    seen: set[tuple[str, ...]] = set()
    for seed in range(20):
        disk = ForgetfulDisk(root)
        (root / "old").rename(root / "new")
        disk.cut(random.Random(seed))
        seen.add(tuple(tree(root)))
        (name,) = tree(root)
        (root / name).rename(root / "old")
    assert seen == {("old",), ("new",)}

    (root / "old").write_bytes(b"\0" * 4096)
    disk = ForgetfulDisk(root)
    (root / "old").write_bytes(b"\1" * 4096)
    disk.cut(random.Random(1))
    assert 0 < (root / "old").read_bytes().count(1) < 4096


def test_a_machine_that_is_off_does_nothing_more(root: Path) -> None:
    disk = ForgetfulDisk(root)
    fd = os.open(root / "old", os.O_RDWR)
    disk.cut()

    with pytest.raises(PowerIsCutError):
        disk.sync_file(fd, root / "old")
    os.pwrite(fd, b"late", 0)
    os.close(fd)

    assert tree(root) == {"old": b"old"}

from __future__ import annotations

from pathlib import Path

import pytest

from livespan.proto.errors import InvalidInput, Unavailable
from livespan.proto.home import Home, default_home, file_system


def test_a_home_is_made_for_its_user_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "h")
    assert home.create()
    assert not home.create()
    assert home.root.stat().st_mode & 0o777 == 0o700
    assert home.spool.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_home_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    home = Home(tmp_path / "h")
    home.create()
    home.root.chmod(mode)
    with pytest.raises(InvalidInput) as refused:
        home.create()
    assert "chmod 700" in refused.value.hint


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="not a folder") as refused:
        Home(tmp_path / "file").create()
    assert "LIVESPAN_HOME" in refused.value.hint
    with pytest.raises(Unavailable):
        Home(tmp_path / "file" / "below").create()


def test_the_default_home_follows_the_user_and_no_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = default_home()
    for name in ("HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    assert default_home() == before


def test_a_home_that_a_reboot_empties_is_warned_about() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert "a reboot empties it" in Home(Path("/dev/shm")).warning() or file_system(Path("/dev/shm")) != "tmpfs"

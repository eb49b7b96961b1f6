"""Commands beside one damaged file of the lake: what it does not hold is told and done as ever, and it is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.livespan_home import LiveHome
from tests.recovery.command_line import command

import livespan.instrumentation as ls
from livespan.collector.settings import CollectorSettings
from livespan.proto.errors import EXIT_CODES, ErrorKind

DAMAGED = EXIT_CODES[ErrorKind.DAMAGED]
LONG = "x" * 40_000
"""So that it lies in `content`."""


@ls.step
def think(text: str) -> str:
    return text


@ls.tool
def pay(cents: int) -> int:
    return cents


def fill(live: LiveHome) -> Path:
    """Publish a run into a file of its own, then two others of which one is not done; return the first's file."""
    live.serve(CollectorSettings(publish_s=60))  # its end publishes, once
    folder = live.home.lake / "nodes"
    with live.run("lost"):
        think(LONG)
        ls.checkpoint(LONG.encode())
    live.inside.stop()
    live.forget_connections()
    first = sorted(folder.glob("*.parquet"))[0]
    live.serve(CollectorSettings(publish_s=0.05))
    with live.run("whole"):
        pay(3)
    with pytest.raises(RuntimeError), live.run("half"):
        pay(4)
        raise RuntimeError("no more")
    return first


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_commands_about_other_runs_work_and_lists_say_what_they_lack(
    live: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = fill(live)
    flip(damaged, 900)

    for words in (
        ("runs", "show", "whole"),
        ("plan", "half"),
        ("sql", "SELECT count(*) FROM nodes WHERE run_id = 'whole'"),
        ("cancel", "half"),
    ):
        code, _, err = command(live, capsys, *words)
        assert code == 0, (words, err)

    code, out, err = command(live, capsys, "runs", "list", "-o", "json")
    assert (code, {run["run_id"] for run in json.loads(out)}) == (DAMAGED, {"whole", "half"})
    assert damaged.name in err
    code, _, err = command(live, capsys, "recover", "--all")
    assert (code, "Nothing is interrupted." in err) == (DAMAGED, True)
    assert damaged.name in err

    for words in (("runs", "show", "lost"), ("runs", "show", "los"), ("plan", "lost"), ("sql", "FROM nodes")):
        code, _, err = command(live, capsys, *words)
        assert code == DAMAGED, words
        assert damaged.name in err, words


def test_a_large_value_is_never_told_from_a_damaged_file(live: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    fill(live)
    [content] = (live.home.lake / "content").glob("*.parquet")
    flip(content, 60)
    for sql in (
        "SELECT bytes FROM content",
        "SELECT md5(bytes) FROM content WHERE run_id = 'lost'",
        "SELECT state FROM checkpoints",
        "WITH all_of_it AS (SELECT * FROM content) SELECT count(*) FROM nodes, all_of_it",
    ):
        code, _, err = command(live, capsys, "sql", sql)
        assert code == DAMAGED, sql
        assert content.name in err, sql
    for sql in ("SELECT count(*) FROM nodes", "SELECT bytes FROM content WHERE run_id = 'whole'"):
        code, _, err = command(live, capsys, "sql", sql)
        assert code == 0, err

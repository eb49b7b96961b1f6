from __future__ import annotations

import msgspec
import pytest
from tests.collector.recorded import FixedLake, RunBuilder, interrupted_run

from livespan.collector.query.engine import QueryEngine
from livespan.collector.query.runs import show_run
from livespan.collector.query.shapes import ShownNode, ShownRun
from livespan.collector.render import Cell, Column, duration, moment, printable, table_lines, width
from livespan.collector.run_tree import COLUMNS, doubt_lines, heading, tree_rows
from livespan.proto.record import Record

COLUMNS_ = (Column("NAME", elastic=True), Column("N", right=True), Column(""))


def shown(records: list[Record], run_id: str) -> ShownRun:
    answer = show_run(QueryEngine(FixedLake(records)), lambda trace: False, "shop", run_id)
    return msgspec.json.decode(msgspec.json.encode(answer), type=ShownRun)


def lines(run: ShownRun, limit: int | None = None) -> list[str]:
    return list(table_lines(COLUMNS, tree_rows(run), limit))


def test_columns_are_aligned_and_lines_have_no_trailing_blanks() -> None:
    rows = [[Cell("a"), Cell("1"), Cell("")], [Cell("日本"), Cell("1,204"), Cell("x")]]
    assert list(table_lines(COLUMNS_, rows)) == [
        "NAME      N",
        "a         1",
        "日本  1,204  x",
    ]


def test_a_table_without_titles_has_no_heading() -> None:
    assert list(table_lines([Column(""), Column("")], [[Cell("a"), Cell("b")]])) == ["a  b"]


def test_on_a_terminal_elastic_columns_are_cut_and_no_others() -> None:
    rows = [[Cell("a-very-long-name-indeed"), Cell("1,204"), Cell("keep me")]]
    [_, line] = table_lines(COLUMNS_, rows, 30)
    assert line == "a-very-long-n…  1,204  keep me"
    assert width(line) <= 30


@pytest.mark.parametrize("limit", [30, 12, None])
def test_a_column_that_wraps_keeps_all_of_its_text(limit: int | None) -> None:
    columns = [Column("NODE"), Column("WHY", elastic=True, wraps=True)]
    why = "Its recorded result answers: it is not run again."
    lines = list(table_lines(columns, [[Cell("a"), Cell(why)], [Cell("b"), Cell("")]], limit))
    assert lines[0].split() == ["NODE", "WHY"]
    assert lines[-1] == "b"
    assert (lines[1][:6], " ".join(line[6:].strip() for line in lines[1:-1])) == ("a     ", why)
    assert all(line.startswith("      ") for line in lines[2:-1])
    assert limit is None or max(map(width, lines)) <= max(limit, 6 + 8)


def test_in_a_pipe_nothing_is_cut() -> None:
    text = "x" * 500
    assert text in list(table_lines(COLUMNS_, [[Cell(text), Cell("1"), Cell("")]]))[1]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain ü 日本", "plain ü 日本"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\u202e", "\\u202e"),
    ],
)
def test_what_a_record_holds_cannot_speak_to_the_terminal(text: str, seen: str) -> None:
    assert printable(text) == seen


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, ""),
        (0.04, "0.0 ms"),
        (9.94, "9.9 ms"),
        (12.4, "12 ms"),
        (999.4, "999 ms"),
        (999.6, "1.0 s"),
        (59_900, "59.9 s"),
        (59_990, "1 min 00 s"),
        (75_000, "1 min 15 s"),
        (3_599_900, "1 h 00 min"),
        (11_520_000, "3 h 12 min"),
    ],
)
def test_durations_are_said_as_people_say_them(ms: float | None, text: str) -> None:
    assert duration(ms) == text


def test_times_are_said_to_the_second_in_utc() -> None:
    assert moment("2026-01-31T09:30:00.250000+00:00") == "2026-01-31 09:30:00Z"
    assert moment(None) == ""


def test_a_run_is_a_tree_with_what_became_of_each_node() -> None:
    records: list[Record] = []
    interrupted_run(records)
    run = shown(records, "order-17")
    doubtful = next(node.node_id for node in run.nodes if node.in_doubt)
    assert lines(run) == [
        "NODE                                   STATUS        TOOK      TOKENS",
        "order-17                               unfinished",
        "├─ PROMPT think                        success     812 ms  1,204 + 56  RECORDED",
        "├─ PROMPT plan                         unfinished",
        "├─ PROMPT plan (try 2)                 success     640 ms    310 + 41  RE-EXECUTED",
        "├─ TOOL send_mail                      success      20 ms",
        f"└─ TOOL charge_card  {doubtful}  unfinished                      IN DOUBT",
    ]
    assert max(width(line) for line in lines(run, 80)) <= 80
    assert list(heading(run.run)) == [
        "project shop  session chat-9  tier=gold",
        "started 2026-01-31 09:00:01Z, 2 attempts, 6 nodes, 2 effects, 1,514 + 97 tokens",
    ]


def test_doubt_comes_with_the_lines_to_paste() -> None:
    records: list[Record] = []
    interrupted_run(records, "order 17; rm -rf")
    run = shown(records, "order 17; rm -rf")
    doubtful = next(node.node_id for node in run.nodes if node.in_doubt)
    told = doubt_lines(run, "--home /srv/agent")
    begin = f"    livespan resolve --home /srv/agent 'order 17; rm -rf' {doubtful}"
    assert told[-2:] == [f'{begin} --done \'{{"the": "outcome"}}\'', f"{begin} --not-done"]
    assert "ls-" in told[2]


def test_without_doubt_there_is_nothing_to_paste() -> None:
    records: list[Record] = []
    RunBuilder(records, "calm").call("think")
    assert doubt_lines(shown(records, "calm")) == []


def test_scopes_are_indented_and_failures_named() -> None:
    records: list[Record] = []
    run = RunBuilder(records, "deep")
    run.open_root()
    scope = run.start("researcher", "BRANCH")
    run.end(run.start("search", parent=scope), took_ms=75_000)
    run.end(run.start("fetch", parent=scope), error="httpx.ReadTimeout")
    run.call("write")
    assert lines(shown(records, "deep"))[1:] == [
        "deep                  unfinished",
        "├─ BRANCH researcher  unfinished",
        "│  ├─ TOOL search     success     1 min 15 s",
        "│  └─ TOOL fetch      failed           12 ms          ReadTimeout",
        "└─ PROMPT write       success         812 ms",
    ]


def test_a_tree_of_any_depth_or_shape_shows_every_node_once() -> None:
    records: list[Record] = []
    run = RunBuilder(records, "odd")
    parent = run.root
    for depth in range(1500):
        parent = run.start(f"step {depth}", "BRANCH", parent=parent)
    odd = shown(records, "odd")
    first, second, *rest = odd.nodes
    circle = [with_parent(first, second.node_id), with_parent(second, first.node_id), *rest]
    rows = tree_rows(ShownRun(run=odd.run, nodes=circle))
    assert len(rows) == len({row[0].text for row in rows}) == 1500


def with_parent(node: ShownNode, parent_id: str) -> ShownNode:
    return msgspec.structs.replace(node, parent_id=parent_id)

"""Plain runs: whatever is recorded, published and merged in whatever steps, the views show what windows over every row
would show.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from tests.collector.random_rows import random_rows
from tests.collector.whole_views import whole_views

from livespan.collector.disk import SystemDisk
from livespan.collector.lake.file_names import Role, role_of, units
from livespan.collector.lake.merging import Merge, merge_files
from livespan.collector.lake.parquet import write_nodes
from livespan.collector.lake.rows import Row, rows_table
from livespan.collector.lake.seals import Sealed
from livespan.collector.lake.table import LakeFile
from livespan.collector.lake.touched import PlainRuns, TouchedRuns
from livespan.collector.lake.views import is_plain, relations, view_statements

VIEWS = ("records", "nodes", "runs", "effects", "llm_calls", "checkpoints")


class Files:
    """The `nodes` table without its log: files that are written and merged, and which runs are touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live: list[LakeFile] = []
        self.touched = TouchedRuns()
        self.plain = PlainRuns()
        self.names = 0

    def publish(self, rows: list[Row]) -> None:
        rows = sorted(rows, key=lambda row: (str(row["project"]), str(row["run_id"]), int(str(row["log_seq"]))))
        last = max(int(str(row["log_seq"])) for row in rows)
        path = self.folder / f"part-{last:020}-{self.names:08}.parquet"
        self.names += 1
        write_nodes(path, rows, SystemDisk(), len(rows))
        self.live.append(self.sealed(path, len(rows)))
        self.follow()

    def merge(self, first: int, count: int) -> None:
        """Merge so many neighbours."""
        found = units(self.live)
        sources = [file for unit in found[first : first + count] for file in unit]
        place = sources[-1].path.name.split("-")[1]
        targets = {role: self.folder / f"{role}-{place}-{self.names:08}.parquet" for role in Role}
        self.names += 1
        merged = merge_files(
            Merge(
                "nodes",
                [str(file.path) for file in sources],
                [None] * len(sources),
                {role: str(path) for role, path in targets.items()},
                str(self.folder / "spill"),
            )
        )
        assert not merged.failure
        assert sum(file.rows for file in merged.files) == sum(file.rows or 0 for file in sources)
        files = [self.sealed(Path(file.path), file.rows) for file in merged.files]
        before = [file for unit in found[:first] for file in unit]
        self.live = before + files + [file for unit in found[first + count :] for file in unit]
        self.follow()

    def sealed(self, path: Path, rows: int) -> LakeFile:
        with duckdb.connect() as connection:
            found = connection.execute(f"SELECT DISTINCT run_id FROM read_parquet('{path}')").fetchall()
        return LakeFile(path, None, None, rows, Sealed(0, tuple(sorted(run for (run,) in found))))

    def follow(self) -> None:
        """Take in the files of this moment, as each publication and merge does."""
        self.plain = self.touched.update([(file.path, file.sealed) for file in self.live])
        assert self.plain == TouchedRuns().update([(file.path, file.sealed) for file in self.live])


def steps(coin: random.Random, files: Files, rows: list[Row]) -> list[Row]:
    """Publish and merge at random; return the rows that stay hot."""
    at = 0
    end = len(rows) - coin.randrange(0, 40)
    while at < end:
        # A publication may leave rows behind that a later one takes: open nodes.
        stop = min(end, at + coin.randrange(1, 40))
        files.publish(rows[at:stop])
        at = stop
        if coin.random() < 0.4 and len(units(files.live)) > 1:
            first = coin.randrange(len(units(files.live)) - 1)
            files.merge(first, coin.randrange(2, 6))
    if coin.random() < 0.5:
        files.merge(0, len(units(files.live)))
    return rows[at:]


def shown(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[list[str], list[tuple[object, ...]]]]:
    """Return everything that the views show."""
    told: dict[str, tuple[list[str], list[tuple[object, ...]]]] = {}
    for view in VIEWS:
        found = connection.execute(f"SELECT * FROM {view} ORDER BY ALL")
        told[view] = [str(column[0]) for column in found.description], found.fetchall()
    return told


def databases(files: Files, rows: list[Row], hot: list[Row]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a database with the whole views over these rows, then one with the lake's."""
    content = relations((), (), ()).content
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("every_row", rows_table(rows))
        for statement in whole_views("SELECT * FROM every_row", content):
            connection.execute(statement)
        yield connection
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("hot_rows", rows_table(hot))
        paths = [file.path for file in files.live]
        touched = files.plain.touched_with(str(row["run_id"]) for row in hot)
        over = relations(paths, (), touched)
        over = replace(over, part=f"{over.part} UNION ALL BY NAME SELECT * FROM hot_rows")
        for statement in view_statements(over, is_plain=is_plain(paths, touched, len(hot))):
            connection.execute(statement)
        yield connection


@pytest.mark.parametrize("seed", range(8))
def test_the_views_show_what_windows_over_every_row_would(tmp_path: Path, seed: int) -> None:
    coin = random.Random(seed)
    files = Files(tmp_path)
    rows = list(random_rows(coin, coin.randrange(30, 400)))
    hot = steps(coin, files, rows)
    whole, ours = [shown(connection) for connection in databases(files, rows, hot)]
    for view in VIEWS:
        assert ours[view] == whole[view], view


@pytest.mark.parametrize("seed", range(4))
def test_plain_runs_alone_are_shown_alike_without_windows(tmp_path: Path, seed: int) -> None:
    coin = random.Random(seed)
    files = Files(tmp_path)
    files.publish(list(random_rows(coin, 300)))
    files.publish(list(random_rows(coin, 300)))
    files.merge(0, 2)
    paths = [file.path for file in files.live if role_of(file.path) is not Role.PART]
    assert is_plain(paths, (), 0)
    told: list[object] = []
    for plain in (True, False):
        with duckdb.connect() as connection:
            for statement in view_statements(relations(paths, (), ()), is_plain=plain):
                connection.execute(statement)
            assert connection.execute("SELECT * FROM nodes LIMIT 1").fetchall()
            told.append(shown(connection))
    assert told[0] == told[1]


@pytest.mark.parametrize("seed", range(100, 102))
def test_a_condition_on_a_run_changes_nothing_of_what_is_shown_of_it(tmp_path: Path, seed: int) -> None:
    coin = random.Random(seed)
    files = Files(tmp_path)
    rows = list(random_rows(coin, 200))
    hot = steps(coin, files, rows)
    told: list[list[list[tuple[object, ...]]]] = []
    for connection in databases(files, rows, hot):
        runs = sorted({str(row["run_id"]) for row in rows})
        of_each = "SELECT * FROM {} WHERE run_id = $1 ORDER BY ALL"
        told.append([connection.execute(of_each.format(view), [run]).fetchall() for view in VIEWS[:3] for run in runs])
    assert told[0] == told[1]


def row(seq: int, kind: str = "ended", node: int = 0, **values: object) -> Row:
    """Return a row of a run that is plain as long as nothing else is said."""
    known: Row = {"project": "shop", "run_id": "order-17", "generation": 0, "kind": kind, "type": "TOOL"}
    known |= {"node_id": f"{node or seq:016x}", "status": "SUCCESS", "started_ns": seq, "ended_ns": seq + 1}
    return known | {"writer": "w", "writer_seq": seq, "log_id": "log", "log_seq": seq, "effect": True} | values


def call(seq: int, framework: str) -> Row:
    """Return a model call as one of two instrumentations saw it."""
    seen: Row = {"type": "PROMPT", "framework": framework, "input_tokens": 8, "output_tokens": 30, "writer": ""}
    return row(seq, "foreign", effect=None, ended_ns=100 - seq) | seen


PLAIN: dict[str, tuple[list[Row], set[int]]] = {
    "ended nodes": ([row(1), row(2)], {1, 2}),
    "an end whose start was published before it": ([row(1, "started", 9), row(2, "ended", 9)], {2}),
    "a scope that was opened again": ([row(1, "started", 9), row(2, "started", 9), row(3, "ended", 9)], {3}),
    "leases, checkpoints and attempts": (
        [row(1, "lease"), row(2, "checkpoint"), row(3, "gap"), row(4, "attempt"), row(5)],
        {4, 5},
    ),
    "an attempt of a node that ended": ([row(1, "attempt", 9), row(2, "ended", 9)], {2}),
    "foreign spans": ([call(1, "openai")], {1}),
    "an effect that a living process is at": (
        [row(1, "lease", lease_event="granted"), row(2, "started", status="RUNNING")],
        {2},
    ),
    "a read that failed": ([row(1, effect=False, status="FAILED")], {1}),
}
OTHERS: dict[str, list[Row]] = {
    "a record that is there twice": [row(1), row(2, writer_seq=1, node_id=f"{1:016x}"), row(3)],
    "a settled node": [row(1, "started"), row(2, "settled", 1, settled="done")],
    "a verdict alone": [row(1), row(2, "settled", settled="not_done")],
    "an effect that was started and no more": [row(1, "started", status="RUNNING")],
    "an effect that failed": [row(1, status="FAILED")],
    "an echo": [call(1, "langchain"), call(2, "openai")],
    "two logs that count alike": [row(1), row(1, node=2, log_id="other", writer="x")],
}


def merged(folder: Path, rows: list[Row]) -> dict[Role, set[int]]:
    """Publish each row for itself, merge them, and return which are in which file."""
    files = Files(folder)
    for each in rows:
        files.publish([each])
    files.merge(0, len(rows))
    with duckdb.connect() as connection:
        return {
            role_of(file.path): {
                seq for (seq,) in connection.execute(f"SELECT log_seq FROM read_parquet('{file.path}')").fetchall()
            }
            for file in files.live
        }


@pytest.mark.parametrize("what", PLAIN)
def test_a_run_of_which_the_view_shows_rows_as_they_stand_is_plain(tmp_path: Path, what: str) -> None:
    rows, shown_seqs = PLAIN[what]
    found = merged(tmp_path, rows)
    assert found.pop(Role.PLAIN) == shown_seqs
    beside = {int(str(each["log_seq"])) for each in rows} - shown_seqs
    assert found == ({Role.BESIDE: beside} if beside else {})


@pytest.mark.parametrize("what", OTHERS)
def test_a_run_of_which_it_shows_something_else_is_not(tmp_path: Path, what: str) -> None:
    other = row(50, run_id="order-18")
    found = merged(tmp_path, [*OTHERS[what], other])
    assert found == {Role.PLAIN: {50}, Role.PART: {int(str(each["log_seq"])) for each in OTHERS[what]}}


def test_without_a_seal_no_run_is_taken_as_plain(tmp_path: Path) -> None:
    path = tmp_path / "part-1-a.parquet"
    plain = TouchedRuns().update([(tmp_path / "plain-0-a.parquet", Sealed(0, ("order-17",))), (path, None)])
    assert not plain.known

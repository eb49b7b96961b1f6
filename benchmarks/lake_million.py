"""How long SQL takes over a lake of a million nodes: a run's nodes, tokens by model and day, and what lists and shows
runs.

The lake is written by the lake's own writers, in files as a busy collector publishes them; then a collector is started
on that home, which merges them by itself as it would have done all along. A read goes the way of `livespan sql`: a
call of the Query service on the home's socket, until the last row has been decoded.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

import grpc
import msgspec
from deltalake import DeltaTable

from benchmarks.figure import Figure
from benchmarks.material import texts
from benchmarks.percentiles import percentile, spread
from benchmarks.stand import Stand, stand
from livespan.collector.disk import SystemDisk
from livespan.collector.lake.add_actions import add_actions
from livespan.collector.lake.file_names import place_of, sort_key
from livespan.collector.lake.parquet import write_nodes
from livespan.collector.lake.schema import NODES
from livespan.collector.lake.table import LakeFile, open_table
from livespan.collector.lake.tiers import Sized, next_merge
from livespan.proto.ids import trace_id
from livespan.proto.rendezvous import ensure
from livespan.proto.rpc import open_channel
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub

__all__ = ["measure"]

_FILE_ROWS: Final = 4000
_RUN_NODES: Final = 200
_LIVE_RUNS: Final = 16
_PROJECT: Final = "bench"
_LOG: Final = "0" * 32
_FIRST_NS: Final = 1_769_850_000_000_000_000
_STEP_NS: Final = 2_600_000_000
"""A million nodes take a month."""
_MODELS: Final = tuple(f"model-{number}" for number in range(8))
_MERGED_S: Final = 240.0
_BY_RUN: Final = "SELECT * FROM nodes WHERE run_id = '{}'"
_BY_DAY: Final = """
    SELECT model, CAST(started_at AS DATE) AS day, sum(input_tokens + output_tokens) AS tokens
    FROM llm_calls GROUP BY ALL ORDER BY day, model
"""


def measure(quick: bool) -> list[Figure]:
    """Return how long the reads take, warm."""
    nodes = 100_000 if quick else 1_000_000
    with stand() as home:
        began_s = time.perf_counter()
        runs, files = _build(home.home.lake, nodes)
        built_s = time.perf_counter() - began_s
        target = ensure(home.home)
        merged_s = _wait_merged(home)
        left = len(DeltaTable(home.home.lake / "nodes").file_uris())
        note = (
            f"{nodes:,} nodes of 1 KB in {len(runs):,} runs; published as {files} files in {built_s:.0f} s, which the "
            f"collector merged into {left} in {merged_s:.0f} s"
        ) + (" (the floor is for 1,000,000)" if quick else "")
        with open_channel(target) as channel:
            return list(_figures(QueryStub(channel), runs, note, quick=quick))


def _figures(query: QueryStub, runs: list[str], note: str, *, quick: bool) -> Iterator[Figure]:
    chosen = random.Random(3).sample(runs, 5 if quick else 15)
    read: list[tuple[str, float | None, Callable[[str], object]]] = [
        ("SQL: the nodes of a run", 30, lambda run: _rows(query, _BY_RUN.format(run))),
        ("SQL: tokens by model and day", 300, lambda _run: _rows(query, _BY_DAY)),
        ("runs show", None, lambda run: query.ShowRun(pb.ShowRunRequest(run=pb.RunRef(project=_PROJECT, run_id=run)))),
        ("runs list, the newest 50", None, lambda _run: query.ListRuns(pb.ListRunsRequest(limit=50))),
    ]
    for name, floor, ask in read:
        what = f"{name}, over a million nodes, warm, p50"
        try:
            ask(chosen[0])
            took = [_timed(ask, run) for run in chosen]
        except grpc.RpcError as error:
            yield Figure(group="sql_million", name=what, value=None, unit="ms", floor=floor, note=str(error.details()))
            continue
        value = percentile(took, 0.5) * 1000
        yield Figure(
            group="sql_million", name=what, value=value, unit="ms", floor=floor, note=note, detail=spread(took, 1000)
        )


def _timed(ask: Callable[[str], object], run: str) -> float:
    began_s = time.perf_counter()
    ask(run)
    return time.perf_counter() - began_s


def _rows(query: QueryStub, sql: str) -> int:
    """Ask, decode every row as the command does, and return how many there were.

    Raises:
        LookupError: there was none, so something else was measured.
    """
    decoder = msgspec.json.Decoder(list[list[object]])
    count = sum(len(decoder.decode(reply.rows)) for reply in query.Sql(pb.SqlRequest(sql=sql)) if reply.rows)
    if not count:
        raise LookupError(f"no row for {sql}")
    return count


def _wait_merged(home: Stand) -> float:
    """Return once the collector has merged what it will merge, with the seconds that took.

    Raises:
        TimeoutError: that took too long.
    """
    began_s = time.perf_counter()
    while time.perf_counter() - began_s < _MERGED_S:
        if next_merge(_units(home.home.lake / "nodes")) is None:
            return time.perf_counter() - began_s
        time.sleep(0.5)
    raise TimeoutError("the collector did not merge the files in time")


def _units(table: Path) -> list[Sized]:
    """Return the sizes of what compaction takes as one."""
    actions = sorted(add_actions(DeltaTable(table)), key=lambda action: sort_key(Path(action["path"])))
    grouped = groupby(actions, key=lambda action: place_of(Path(action["path"])))
    units = [list(unit) for _, unit in grouped]
    return [Sized(sum(a["num_records"] for a in unit), sum(a["size_bytes"] for a in unit)) for unit in units]


class _BeforeTheCollector(SystemDisk):
    """The disk while the lake is built: nothing of it must survive a power cut, and syncs are not what is measured."""

    def sync_file(self, fd: int, path: Path) -> None:
        del fd, path

    def sync_folder(self, path: Path) -> None:
        del path


def _build(lake: Path, nodes: int) -> tuple[list[str], int]:
    """Write the lake; return its runs and how many files of nodes it has."""
    disk = _BeforeTheCollector()
    lake.mkdir(mode=0o700, parents=True)
    table = open_table(lake / "nodes", NODES, _LOG, disk)
    rows = _nodes()
    runs: set[str] = set()
    files = 0
    for last in range(_FILE_ROWS, nodes + 1, _FILE_ROWS):
        part = sorted((next(rows) for _ in range(_FILE_ROWS)), key=lambda row: (str(row["run_id"]), row["log_seq"]))
        runs.update(str(row["run_id"]) for row in part)
        path = table.new_path(last * 2)
        write_nodes(path, part, disk, len(part))
        file = LakeFile(path, str(part[0]["run_id"]), str(part[-1]["run_id"]))
        table.commit(file, len(part), last * 2, _FIRST_NS)
        files += 1
    return sorted(runs), files


def _nodes() -> Iterator[dict[str, object]]:
    """Yield rows as the publisher makes them of model calls, of runs that go on beside each other."""
    source = random.Random(11)
    known = texts(4096, 512)
    live: list[tuple[str, str, Iterator[int]]] = []
    number = 0
    while True:
        if len(live) < _LIVE_RUNS:
            run_id = f"order-{source.getrandbits(40):010x}"
            live.append((run_id, trace_id(_PROJECT, run_id, 1).hex(), iter(range(_RUN_NODES))))
        run_id, trace, steps = live[source.randrange(len(live))]
        step = next(steps, None)
        if step is None:
            live = [each for each in live if each[0] != run_id]
            continue
        number += 1
        started_ns = _FIRST_NS + number * _STEP_NS
        yield {
            "project": _PROJECT,
            "run_id": run_id,
            "generation": 1,
            "kind": "ended",
            "trace_id": trace,
            "node_id": f"{source.getrandbits(64):016x}",
            "parent_id": trace[:16],
            "root": False,
            "type": "PROMPT",
            "name": "think",
            "status": "SUCCESS",
            "started_at": started_ns // 1000,
            "ended_at": started_ns // 1000 + 900_000,
            "started_ns": started_ns,
            "ended_ns": started_ns + 900_000_000,
            "latency_ms": 900.0,
            "input": known[source.randrange(4096)],
            "output": known[source.randrange(4096)],
            "input_tokens": source.randrange(2000),
            "output_tokens": source.randrange(500),
            "model": _MODELS[source.randrange(len(_MODELS))],
            "provider": "bench",
            "effect": False,
            "call_key": f"{source.getrandbits(128):032x}",
            "call_digest": f"{source.getrandbits(128):032x}",
            "scope": "/",
            "occurrence": step,
            "attempt": 1,
            "try_number": 0,
            "epoch": 1,
            "writer": f"{run_id}-1",
            "writer_seq": 2 * step + 2,
            "log_id": _LOG,
            "log_seq": 2 * number,
            "started_seq": 2 * number - 1,
        }

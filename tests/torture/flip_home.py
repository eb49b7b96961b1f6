"""A home with a bit of everything, the processes that live on it, and what was acknowledged there.

agents' runs, published over many commits ─▶ foreign spans ─▶ records in the log alone ─▶ a dead agent's spool
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, cast

import duckdb
import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.crash.stage import ROOT, Stage, TrialError, wait_until
from tests.proto.foreign_spans import foreign_span

from livespan.proto.errors import Unavailable
from livespan.proto.home import Home
from livespan.proto.rendezvous import locate
from livespan.proto.rpc import open_channel, translate
from livespan.proto.v1.livespan_pb2 import RunRef, ShowRunRequest, SqlRequest
from livespan.proto.v1.livespan_pb2_grpc import QueryStub

__all__ = [
    "LATE_RUNS",
    "OLD_RUNS",
    "Living",
    "Row",
    "Truth",
    "live_nodes",
    "make_home",
    "read_lake",
    "same",
    "truth_of",
]

OLD_RUNS: Final = tuple(f"old-{number:02}" for number in range(6))
LATE_RUNS: Final = ("late-00", "late-01")
"""In the log alone when the home is damaged; of the second its agent's spool holds a little more."""
_STARTS: Final = 5
_KEY: Final = ("run_id", "generation", "node_id")
_SAID: Final = (
    "kind", "type", "name", "status", "input", "input_digest", "output", "output_digest", "call_key", "effect",
    "span_digest", "tool_name",
)  # fmt: skip

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What a home holds: nodes by (run, generation, node), large values as (run, node, kind, digest), states by
    (run, checkpoint).
    """

    nodes: dict[Row, Row]
    content: set[Row]
    states: dict[Row, str]


class Living:
    """One home, and a collector, a drain and agents on it. `close` ends them all."""

    def __init__(self, folder: Path) -> None:
        self.stage = Stage(folder)
        self.home: Home = self.stage.home
        self.collector: subprocess.Popen[bytes] | None = None

    def start(self, publish_s: float, *, forward: bool = False) -> str:
        """Start a collector, which may forward to a backend that is away; return "" where it serves, else what it said
        when it left. One that a drain has started meanwhile has to go.
        """
        said = ""
        for _ in range(_STARTS):
            self.stage.kill(("collector",), ())
            said = self._start(publish_s, forward)
            if "serves this home already" not in said:
                return said
        raise TrialError(f"the home is always served already: {said}")

    def _start(self, publish_s: float, forward: bool) -> str:
        output = self.stage.folder / "collector.err"
        output.unlink(missing_ok=True)
        words = ["--home", str(self.home.root), "--publish-s", str(publish_s)]
        if forward:
            words += ["--forward", "http://127.0.0.1:9"]
        started = self.collector = self.stage.launch("tests.torture.flips_serve", "collector", words)

        def up() -> bool:
            return started.poll() is not None or self.is_serving()

        if not wait_until(up, 40, 0.02):
            raise TrialError(f"the collector neither serves nor leaves: {self.said()}")
        return "" if started.poll() is None else self.said()

    def is_serving(self) -> bool:
        """Return whether the collector has announced itself."""
        address = locate(self.home)
        return address is not None and self.collector is not None and address.pid == self.collector.pid

    def said(self) -> str:
        """Return what the collector has printed in this life, and any that a drain or an agent has started."""
        said = ""
        for path in (self.home.collector_output, self.stage.folder / "collector.err"):
            with suppress(FileNotFoundError):
                said += path.read_text(errors="replace")
        return said

    def end(self, number: signal.Signals) -> None:
        """End the collector by a signal; by SIGTERM it publishes what it has."""
        assert self.collector is not None
        self.collector.send_signal(number)
        try:
            self.collector.wait(40)
        except subprocess.TimeoutExpired:
            raise TrialError(f"the collector does not leave: {self.said()}") from None

    def agent(self, *runs: str) -> list[dict[str, Any]]:
        """Play runs in a process of their own; return what each line says."""
        words = [sys.executable, "-m", "tests.torture.flips_agent", "--home", str(self.home.root), "--run", *runs]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
        if done.returncode != 0:
            raise TrialError(f"the agent broke: {done.stderr[-3000:]}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def sql(self, statement: str) -> list[list[Any]]:
        """Ask the collector, again where a busy machine keeps it from answering. Raises LivespanError: it refuses."""
        for left in reversed(range(_STARTS)):
            try:
                with open_channel(self.stage.wait_for_collector()) as channel:
                    replies = list(QueryStub(channel).Sql(SqlRequest(sql=statement), timeout=30))
            except grpc.RpcError as error:
                told = translate(error, subject="sql")
                if not left or not isinstance(told, Unavailable):
                    raise told from error
            else:
                return [row for reply in replies for row in json.loads(reply.rows or b"[]")]
        raise AssertionError

    def show(self, run: str) -> int:
        """Return how many nodes `runs show` tells of a run. Raises LivespanError: it is refused."""
        for left in reversed(range(_STARTS)):
            try:
                with open_channel(self.stage.wait_for_collector()) as channel:
                    named = RunRef(project="default", run_id=run)
                    reply = QueryStub(channel).ShowRun(ShowRunRequest(run=named), timeout=30)
            except grpc.RpcError as error:
                told = translate(error, subject=run)
                if not left or not isinstance(told, Unavailable):
                    raise told from error
            else:
                return len(json.loads(reply.json)["nodes"])
        raise AssertionError

    def send_foreign(self, number: int) -> None:
        """Send spans of somebody else's instrumentation."""
        message = ExportTraceServiceRequest()
        spans = message.resource_spans.add().scope_spans.add().spans
        for each in range(2):
            words = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "note": "n" * 50 * number}
            spans.append(foreign_span(words, node=100 * number + each + 1))
        with open_channel(self.stage.wait_for_collector()) as channel:
            export = cast("Any", channel).unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
            export(message.SerializeToString(), timeout=10)

    def close(self) -> None:
        """Kill what is left."""
        self.stage.close()


def make_home(living: Living) -> None:
    """Fill a home, and leave it as dead processes do."""
    _up(living.start(0.05, forward=True))
    living.agent(*OLD_RUNS)
    commits = living.home.lake / "nodes" / "_delta_log"
    for number in range(60):
        before = len(list(commits.glob("*.json")))
        living.send_foreign(number)
        wait_until(partial(_has_more, commits, before), 5)
        if before >= 24:
            break
    living.stage.drain_to_the_end()
    living.end(signal.SIGKILL)
    _up(living.start(600))
    living.agent(LATE_RUNS[0])
    living.send_foreign(99)
    words = [sys.executable, "-m", "tests.torture.flips_agent", "--home", str(living.home.root), "--run", LATE_RUNS[1]]
    agent = subprocess.Popen([*words, "--hang"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert agent.stdin is not None
        assert agent.stdout is not None
        _told(agent.stdout.readline(), b"recorded")
        living.stage.drain_to_the_end()
        living.stage.kill(("drain",), ())
        living.end(signal.SIGKILL)
        agent.stdin.write(b"\n")
        agent.stdin.flush()
        _told(agent.stdout.readline(), b"spooled")
    finally:
        agent.kill()
        agent.communicate()
    living.stage.kill(("drain", "collector"), ())


def truth_of(living: Living) -> Truth:
    """Read what the collector of a sound home says is recorded."""
    nodes = live_nodes(living)
    living.end(signal.SIGTERM)
    read, problems = read_lake(living.home, frozenset())
    odd = [(key, row, nodes.get(key)) for key, row in read.nodes.items() if not same(nodes.get(key), row)]
    if problems or odd or len(nodes) != len(read.nodes):
        raise TrialError(f"the sound home is not read as it is: {problems} {odd[:3]}")
    return read


def same(found: Row | None, wanted: Row) -> bool:
    """Return whether a row says what is wanted; what is not published has no digests yet."""
    return found is not None and all(
        one == other or (one is None and name.endswith("_digest"))
        for name, one, other in zip(_SAID, found, wanted, strict=True)
    )


def live_nodes(living: Living) -> dict[Row, Row]:
    """Return the nodes that the collector tells of now, by key."""
    told = living.sql(f"SELECT {_columns(_KEY)}, {_columns(_SAID)} FROM nodes WHERE kind <> 'attempt'")
    return {tuple(row[: len(_KEY)]): tuple(row[len(_KEY) :]) for row in told}


def read_lake(home: Home, without: frozenset[Path]) -> tuple[Truth, list[str]]:
    """Read what is published in plain DuckDB, these files left out; return it, and what is doubled or not as its digest
    says.
    """
    text = (home.lake / "views.sql").read_text()
    for path in without:
        text = text.replace(f"    '{path}',\n", "").replace(f",\n    '{path}'", "")
    files = [each for each in re.findall(r"'(/[^']+\.parquet)'", text) if "/nodes/" in each]
    with duckdb.connect() as connection:
        connection.execute(text)

        def rows(sql: str) -> list[Row]:
            return connection.execute(sql).fetchall()

        listed = ", ".join(f"'{each}'" for each in dict.fromkeys(files))
        doubled = rows(
            f"SELECT log_seq, count(*) FROM read_parquet([{listed}]) GROUP BY log_id, log_seq HAVING count(*) > 1"
        )
        nodes = rows(f"SELECT {_columns(_KEY)}, {_columns(_SAID)} FROM nodes WHERE kind <> 'attempt'")
        values = rows("SELECT run_id, node_id, kind, digest, bytes FROM content")
        states = rows("SELECT run_id, checkpoint_id, digest FROM checkpoints")
    problems = [f"in the table {count} times: record {seq}" for seq, count in doubled]
    problems += [f"not as its digest says: {row[:4]}" for row in values if sha256(row[4]).hexdigest() != row[3]]
    by_key = {row[: len(_KEY)]: row[len(_KEY) :] for row in nodes}
    if len(by_key) != len(nodes):
        problems.append("a node is told of twice")
    return Truth(by_key, {row[:4] for row in values}, {row[:2]: str(row[2]) for row in states}), problems


def _columns(names: Sequence[str]) -> str:
    return ", ".join(names)


def _has_more(commits: Path, before: int) -> bool:
    return len(list(commits.glob("*.json"))) > before


def _up(said: str) -> None:
    if said:
        raise TrialError(f"no collector comes up on a sound home: {said}")


def _told(line: bytes, wanted: bytes) -> None:
    if line.strip() != wanted:
        raise TrialError(f"the agent said {line!r} where {wanted!r} was due")

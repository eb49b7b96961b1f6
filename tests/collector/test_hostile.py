"""Hostile input by list: stored right or refused as OTLP says, and nothing else is harmed.

in process        each case alone: an honest run half before it and half after, published, and again after a restart
a real collector  all cases one after the other, read back; SIGKILL; read back from its log; SIGTERM; plain DuckDB
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import grpc
import msgspec
import pytest
from tests.collector.hostile import CASES, HEAVY, Case
from tests.collector.stand import Stand, Writer
from tests.collector.stand import request as journal_request
from tests.collector.transports import Answer, GrpcTransport, HttpTransport, Transport
from tests.livespan_home import LiveHome, wait_until

from livespan.collector.door import judged
from livespan.collector.lake import rows
from livespan.collector.log import Entry
from livespan.collector.query.shapes import ShownRun
from livespan.collector.query.values import json_value
from livespan.collector.render import table_lines
from livespan.collector.run_tree import COLUMNS, doubt_lines, heading, tree_rows
from livespan.proto.errors import InvalidInput
from livespan.proto.record import Record, RecordKind
from livespan.proto.rendezvous import read_address
from livespan.proto.rpc import open_channel
from livespan.proto.span import WireSpan
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub

pytestmark = pytest.mark.outside

MOST_RSS_BYTES = 1024 * 1024 * 1024
"""What the collector may come to, whatever is sent: a request of 64 MB costs several times that while it is read."""
NOTHING: dict[str, list[list[object]]] = {"SELECT count(*) FROM records WHERE run_id = $run": [[0]]}


def trace_of(case: Case) -> bytes:
    return hashlib.sha256(case.name.encode()).digest()[:16]


def run_of(case: Case) -> str:
    return case.run_id or trace_of(case).hex()


def half(writer: Writer, number: int) -> list[WireSpan]:
    """Return one half of an honest run."""
    node = number.to_bytes(8, "big")
    spans = [writer.started(node), writer.ended(node), writer.checkpoint(number)]
    root = writer.span(RecordKind.STARTED, writer.root, parent=b"") if number == 1 else None
    return [root, *spans] if root else spans


class Published:
    """What is published, read by nothing of ours but `views.sql`."""

    def __init__(self, lake: Path) -> None:
        self.connection = duckdb.connect()
        self.connection.execute((lake / "views.sql").read_text())

    def ask(self, text: str, run_id: str) -> list[list[object]]:
        found = self.connection.execute(text, {"run": run_id} if "$run" in text else None).fetchall()
        return [[json_value(value) for value in row] for row in found]

    def check(self, case: Case) -> None:
        for text, found in (case.facts or NOTHING).items():
            assert self.ask(text, run_of(case)) == found, (case.name, text)

    def intact(self) -> list[list[object]]:
        """Return the honest runs that are there, whole."""
        return self.ask(
            "SELECT n.run_id FROM nodes n JOIN (SELECT run_id, count(*) AS states, sum(octet_length(state)) AS bytes"
            " FROM checkpoints GROUP BY ALL) c USING (run_id) WHERE NOT n.root AND n.status = 'SUCCESS'"
            " AND n.output = '\"ok\"' AND c.states = 2 AND c.bytes = 40960"
            " GROUP BY ALL HAVING count(*) = 2 ORDER BY ALL",
            "",
        )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_publishing_and_starting_again_go_on_over_it(case: Case, tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    honest = Writer(run_id="honest", name="w1")
    stand.send(*half(honest, 1))
    try:
        # The bomb and the large body are for the transport to refuse: here they would only be parsed.
        incoming = None if case.code == "RESOURCE_EXHAUSTED" else judged(case.body(trace_of(case)))
    except InvalidInput:
        assert case.code == "INVALID_ARGUMENT"
        incoming = None
    if incoming is not None:
        assert (case.code, len(incoming.refusals)) == ("OK", case.rejected)
        if incoming.stored:
            count = incoming.request.count()
            [appended] = stand.log.append([Entry(incoming.payload, count)])
            stand.hot.add(incoming.request.records(appended.first_seq), appended.ref, len(incoming.payload))
    stand.publish()
    stand.crash()
    again = Stand(tmp_path)
    again.send(*half(honest, 2))
    again.publish(last=True)
    again.crash()
    published = Published(tmp_path / "lake")
    published.check(case)
    assert published.intact() == [["honest"]]
    assert again.publisher.counts.failures == stand.publisher.counts.failures == 0
    odd = "SELECT count(*) FROM records WHERE attributes LIKE '%livespan.unpublished%'"
    assert published.ask(odd, "") == [[0]]


def test_a_writer_of_the_same_name_in_another_run_hides_nothing(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.send(*half(Writer(run_id="not honest", name="w1"), 1))
    honest = Writer(run_id="honest", name="w1")
    stand.send(*half(honest, 1), *half(honest, 2))
    stand.publish(last=True)
    assert Published(tmp_path / "lake").intact() == [["honest"]]


def test_a_record_that_no_row_can_be_made_of_is_told_by_its_names_and_the_rest_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path)
    honest = Writer(run_id="honest", name="w1")
    stand.send(*half(honest, 1), *half(honest, 2))
    stand.send(Writer(run_id="odd", name="w2").ended(b"oddities"))
    sound = rows._status  # pyright: ignore[reportPrivateUsage]  # a fault is put where one may be

    def failing(record: Record) -> str:
        if record.run_id == "odd":
            raise KeyError("nobody thought of this")
        return sound(record)

    monkeypatch.setattr(rows, "_status", failing)
    stand.publish(last=True)
    published = Published(tmp_path / "lake")
    assert published.intact() == [["honest"]]
    [[node, why]] = published.ask("SELECT node_id, attributes FROM records WHERE run_id = 'odd'", "")
    assert node == b"oddities".hex()
    assert "nobody thought of this" in str(why)


def test_a_value_that_its_column_cannot_hold_is_left_out_and_the_rest_of_its_row_is_kept() -> None:
    table = rows.rows_table([{"run_id": "r", "attempt": 1}, {"run_id": "s", "attempt": True, "epoch": 1 << 70}])
    kept = table.to_pylist()
    assert [(row["run_id"], row["attempt"], row["epoch"]) for row in kept] == [("r", 1, None), ("s", None, None)]
    assert "livespan.unpublished" in kept[1]["attributes"]


@dataclass
class Served:
    """A collector process, asked by the services that people ask."""

    live: LiveHome
    transport: Callable[[], Transport]
    pid: int = 0

    @property
    def target(self) -> str:
        return f"unix:{self.live.home.root}/collector.sock"

    def start(self, *words: str) -> None:
        self.pid = self.live.serve_process("--http", "127.0.0.1:0", *words).pid

    def send(self, payload: bytes, *, gzip: bool = False) -> Answer:
        way = self.transport()
        try:
            return way.send(payload, gzip=gzip)
        finally:
            way.close()

    def sql(self, text: str, run_id: str) -> list[list[object]]:
        """Ask the living collector."""
        quoted = "'" + run_id.replace("'", "''").replace("\0", "' || chr(0) || '") + "'"
        with open_channel(self.target) as channel:
            replies = list(QueryStub(channel).Sql(pb.SqlRequest(sql=text.replace("$run", f"({quoted})"))))
        return [
            row for reply in replies if reply.rows for row in msgspec.json.decode(reply.rows, type=list[list[object]])
        ]

    def show(self, project: str, run_id: str) -> ShownRun:
        """Return a run as `runs show` has it, drawn as people see it on the way."""
        with open_channel(self.target) as channel:
            answer = QueryStub(channel).ShowRun(pb.ShowRunRequest(run=pb.RunRef(project=project, run_id=run_id)))
        shown = msgspec.json.decode(answer.json, type=ShownRun)
        lines = [*heading(shown.run), *table_lines(COLUMNS, tree_rows(shown)), *doubt_lines(shown)]
        assert not [line for line in lines if any(ord(letter) < 32 for letter in line)]
        assert len(tree_rows(shown)) == len(shown.nodes)
        return shown

    def rss(self, kind: str = "VmHWM") -> int:
        """Return what the collector's process has, or has had at most, of memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        [line] = [line for line in lines if line.startswith(kind)]
        return int(line.split()[1]) * 1024


@pytest.fixture(params=["grpc", "http"])
def served(request: pytest.FixtureRequest, live: LiveHome) -> Served:
    target = f"unix:{live.home.root}/collector.sock"

    def over_http() -> Transport:
        address = read_address(live.home)
        assert address is not None
        return HttpTransport(address.http)

    return Served(live, over_http if request.param == "http" else lambda: GrpcTransport(target))


def test_a_collector_takes_all_of_it_is_killed_over_it_and_has_what_it_should(served: Served) -> None:
    served.start("--publish-s", "86400")
    honest = [Writer(run_id=f"honest {number:03}", name=f"w{number}") for number in range(len(CASES))]
    for case, writer in zip(CASES, honest, strict=True):
        assert served.send(journal_request(*half(writer, 1))) == Answer("OK")
        took(served, case)
        assert served.send(journal_request(*half(writer, 2))) == Answer("OK")
    assert served.rss() < MOST_RSS_BYTES, served.rss()
    served.live.kill("collector")
    served.start("--publish-s", "86400")  # nothing was published: it starts over the log that holds all of it
    look(served, CASES)
    took(served, HEAVY)
    look(served, [HEAVY])
    assert served.rss() < MOST_RSS_BYTES, served.rss()
    os.kill(served.pid, signal.SIGTERM)
    wait_until(lambda: not served.live.pids("collector"), timeout_s=60)
    published = Published(served.live.home.lake)
    for case in (*CASES, HEAVY):
        published.check(case)
    assert published.intact() == [[writer.run_id] for writer in honest]


def took(served: Served, case: Case) -> None:
    """Send a case, and see that it is taken or refused as it should be."""
    answer = served.send(case.body(trace_of(case)), gzip=case.gzip)
    assert (answer.code, answer.rejected) == (case.code, case.rejected), (case.name, answer.message)
    assert not answer.may_retry


def look(served: Served, cases: Iterable[Case]) -> None:
    """Read every case back from the living collector."""
    for case in cases:
        for text, found in case.facts.items():
            if "content" not in text:  # that is in the log until it is published
                assert served.sql(text, run_of(case)) == found, (case.name, text)
        if case.facts:
            assert served.show(case.project, run_of(case)).run.run_id == run_of(case)
        else:
            with pytest.raises(grpc.RpcError, match="there is no such run"):
                served.show(case.project, run_of(case))
    assert len(served.show("shop", "honest 000").nodes) == 3

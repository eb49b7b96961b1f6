"""Requests that Hypothesis draws go all the way: parsed, indexed, folded, published, shown; and through a collector.

A minute in all, see fuzzing.py. What fails is shrunk and printed as the bytes that were sent: a failure that was found
becomes a case of hostile.py.
"""

from __future__ import annotations

import http.client
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.fuzzed import bodies, json_bodies
from tests.collector.fuzzing import fuzz
from tests.collector.recorded import FixedLake
from tests.collector.stand import Stand, Writer
from tests.collector.stand import request as journal_request
from tests.collector.transports import Answer, GrpcTransport, HttpTransport, Transport
from tests.livespan_home import LiveHome

from livespan.collector.door import judged
from livespan.collector.lake.read_back import READ_COLUMNS, records_of
from livespan.collector.lake.rows import node_rows
from livespan.collector.log import Entry
from livespan.collector.query.engine import QueryEngine
from livespan.collector.query.runs import list_runs, show_run
from livespan.collector.query.shapes import ShownRun
from livespan.collector.render import table_lines
from livespan.collector.run_history import RunHistory
from livespan.collector.run_tree import COLUMNS, doubt_lines, heading, tree_rows
from livespan.proto.errors import InvalidInput
from livespan.proto.record import Large, Record, RecordKind
from livespan.proto.rendezvous import read_address
from livespan.proto.rpc import open_channel
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub
from livespan.recovery.lease_record import lease_from_record
from livespan.recovery.opening import open_replies

pytestmark = [pytest.mark.outside, pytest.mark.timeout(900)]  # to shrink takes Hypothesis up to five minutes

PARSING_S: Final = 12.0
STORING_S: Final = 12.0
SENDING_S: Final = 12.0
"""Of each of the three ways to send: with the others a minute in all."""
BATCH: Final = 12
MOST_RSS_BYTES: Final = 512 * 1024 * 1024
"""What the collector may come to over requests of this size."""


def content(_record: Record, _name: str) -> bytes:
    return b"{}"


def test_any_request_is_refused_or_its_records_can_be_folded_and_become_rows() -> None:
    @given(bodies())
    def parsed(body: bytes) -> None:
        try:
            parsed_whole(body)
        except InvalidInput:
            return

    fuzz(parsed, PARSING_S)


def parsed_whole(body: bytes) -> None:
    incoming = judged(body)
    records = incoming.request.records(1)
    assert len(records) == incoming.stored
    left = {(each.span, name) for record in records for name, each in record.attributes.items() if type(each) is Large}
    left |= {(record.raw.span, "raw") for record in records if isinstance(record.raw, Large)}
    found = {(span, name): len(data) for span, name, data in incoming.request.larges()}
    assert left == set(found), "what is left in the log is what is taken out of it"
    for (span, name), size in found.items():
        assert len(incoming.request.large(span, name)) == size
    for row in node_rows(records, "log", lambda _record, _name: "digest"):
        assert "livespan.unpublished" not in str(row["attributes"])
        assert records_of({**dict.fromkeys(READ_COLUMNS), **row})
    histories: dict[tuple[str, str, int], RunHistory] = {}
    for record in records:
        key = (record.project, record.run_id, record.generation)
        histories.setdefault(key, RunHistory(*key)).add(record)
        lease_from_record(record)
    for history in histories.values():
        assert list(open_replies(history.copy(), content))


def test_any_requests_are_stored_published_and_shown_and_the_next_start_reads_them(tmp_path: Path) -> None:
    @given(st.lists(bodies(), min_size=1, max_size=BATCH))
    def stored(batch: list[bytes]) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            stored_and_shown(Path(folder), batch)

    fuzz(stored, STORING_S, round_size=5)


def stored_and_shown(folder: Path, batch: list[bytes]) -> None:
    stand = Stand(folder)
    for body in batch:
        try:
            incoming = judged(body)
        except InvalidInput:
            continue
        if incoming.stored:
            [appended] = stand.log.append([Entry(incoming.payload, incoming.request.count())])
            stand.hot.add(incoming.request.records(appended.first_seq), appended.ref, len(incoming.payload))
    hot = list(stand.hot.snapshot().hot)
    shown(QueryEngine(FixedLake(hot)))
    stand.publish()
    stand.crash()
    again = Stand(folder)
    again.publish(last=True)
    shown(QueryEngine(again.publisher))
    assert again.rows("SELECT count(*) FROM records WHERE attributes LIKE '%livespan.unpublished%'") == [(0,)]
    seqs = [record.log_seq for record in hot if record.kind is not RecordKind.STARTED]
    assert sorted(again.rows("SELECT log_seq FROM records WHERE kind <> 'started'")) == [(seq,) for seq in sorted(seqs)]
    for run in list_runs(QueryEngine(again.publisher), lambda _trace: False).runs:
        assert again.history.run(run.project, run.run_id) is not None
    again.crash()


def shown(engine: QueryEngine) -> None:
    for run in list_runs(engine, lambda _trace: False).runs:
        told = msgspec.json.decode(
            msgspec.json.encode(show_run(engine, lambda _trace: False, run.project, run.run_id)), type=ShownRun
        )
        lines = [*heading(told.run), *table_lines(COLUMNS, tree_rows(told)), *doubt_lines(told)]
        assert not [line for line in lines if any(ord(letter) < 32 for letter in line)]


class Attacked:
    """A collector that all examples of a test are sent to, with an honest run in it.

    One that has ended is started again: else each example after the first would fail, and what ended it could not be
    found among them.
    """

    def __init__(self, live: LiveHome, protocol: str) -> None:
        self._live = live
        self._protocol = protocol
        self._honest = Writer(run_id="honest", name="w1")
        self.taken = 0
        self._start()
        assert self._way.send(journal_request(self._honest.root_record(RecordKind.STARTED))) == Answer("OK")

    def _start(self) -> None:
        self._served = self._live.serve_process("--publish-s", "0.5", "--http", "127.0.0.1:0")
        self._target = f"unix:{self._live.home.root}/collector.sock"
        address = read_address(self._live.home)
        assert address is not None
        self._json = HttpTransport(address.http, json=True)
        self._way: Transport = (
            HttpTransport(address.http) if self._protocol == "http" else GrpcTransport(self._target, waits=False)
        )

    def send(self, body: bytes, *, gzip: bool) -> None:
        self._judge(lambda: self._way.send(body, gzip=gzip))

    def post_json(self, body: bytes) -> None:
        self._judge(lambda: self._json.post(body))

    def _judge(self, sent: Callable[[], Answer]) -> None:
        if self._served.poll() is not None:
            self._way.close()
            self._start()
        try:
            answer = sent()
        except (OSError, http.client.HTTPException) as error:
            answer = Answer(f"no answer: {type(error).__name__}")
        if answer.code not in {"OK", "INVALID_ARGUMENT"}:
            with suppress(subprocess.TimeoutExpired):
                self._served.wait(0.2)  # so that it is known to have ended before the next example is sent
            raise AssertionError(f"{answer}; the collector's exit code: {self._served.poll()}")
        self.taken += answer.code == "OK"

    def end(self) -> None:
        """Look whether it lives, is no larger than it may be, and has what it was sent, the honest run above all."""
        nodes = [number.to_bytes(8, "big") for number in range(1, 21)]
        steps = [span for node in nodes for span in (self._honest.started(node), self._honest.ended(node))]
        assert self._way.send(journal_request(*steps)) == Answer("OK")
        self._way.close()
        assert self._served.poll() is None
        lines = Path(f"/proc/{self._served.pid}/status").read_text().splitlines()
        [most_kb] = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        assert most_kb * 1024 < MOST_RSS_BYTES
        with open_channel(self._target) as channel:
            query = QueryStub(channel)
            status = msgspec.json.decode(query.Status(pb.StatusRequest()).json, type=dict[str, object])
            assert status["unindexed_frames"] == 0
            runs = msgspec.json.decode(query.ListRuns(pb.ListRunsRequest(limit=5)).json, type=list[dict[str, object]])
            assert runs
            for run in runs:
                query.ShowRun(pb.ShowRunRequest(run=pb.RunRef(project=str(run["project"]), run_id=str(run["run_id"]))))
            honest = query.ShowRun(pb.ShowRunRequest(run=pb.RunRef(project="shop", run_id="honest"))).json
        shown = msgspec.json.decode(honest, type=ShownRun)
        assert sum(node.status == "SUCCESS" for node in shown.nodes) == len(nodes)
        assert self.taken


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_answers_any_request_and_goes_on(live: LiveHome, protocol: str) -> None:
    attacked = Attacked(live, protocol)

    @given(bodies(), st.booleans())
    def sent(body: bytes, gzip: bool) -> None:
        attacked.send(body, gzip=gzip)

    fuzz(sent, SENDING_S)
    attacked.end()


def test_a_collector_answers_any_json_and_goes_on(live: LiveHome) -> None:
    attacked = Attacked(live, "http")

    @given(json_bodies())
    def sent(body: bytes) -> None:
        attacked.post_json(body)

    fuzz(sent, SENDING_S)
    attacked.end()

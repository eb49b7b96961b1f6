"""Requests made at random go all the way: parsed, indexed, folded, published, shown; and a slice through a collector.

The first seed is drawn anew in each run, unless LIVESPAN_FUZZ_SEED says which; what fails says its own. A failure that
was found becomes a case of hostile.py.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from itertools import count
from json import dumps
from pathlib import Path
from typing import Final

import msgspec
import pytest
from google.protobuf.message import DecodeError
from tests.collector.fuzzed import fuzzed_request
from tests.collector.otlp_transport import as_json
from tests.collector.recorded import FixedLake
from tests.collector.stand import Stand
from tests.collector.transports import GrpcTransport, HttpTransport, Transport
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

pytestmark = pytest.mark.outside

PARSING_S: Final = 12.0
STORING_S: Final = 12.0
SENDING_S: Final = 12.0
"""Of each of the three ways: with the others a minute in all."""
BATCH: Final = 40


def seeds(seconds: float) -> Iterator[int]:
    """Yield seeds for so long, from a first one that is this run's own."""
    first = int(os.environ.get("LIVESPAN_FUZZ_SEED", time.time_ns() % 1_000_000_000))
    print(f"LIVESPAN_FUZZ_SEED={first}")
    until = time.monotonic() + seconds
    for seed in count(first):
        if time.monotonic() > until:
            print(f"{seed - first} requests")
            return
        yield seed


def content(_record: Record, _name: str) -> bytes:
    return b"{}"


def test_any_request_is_refused_or_its_records_can_be_folded_and_become_rows() -> None:
    for seed in seeds(PARSING_S):
        try:
            parsed_whole(seed)
        except InvalidInput:
            continue
        except Exception as error:
            raise AssertionError(f"LIVESPAN_FUZZ_SEED={seed} fails at once") from error


def parsed_whole(seed: int) -> None:
    incoming = judged(fuzzed_request(seed))
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
    pending = seeds(STORING_S)
    for number in count():
        batch = [seed for seed, _ in zip(pending, range(BATCH), strict=False)]
        if not batch:
            return
        try:
            stored_and_shown(tmp_path / str(number), batch)
        except Exception as error:
            raise AssertionError(f"a batch of {BATCH} from LIVESPAN_FUZZ_SEED={batch[0]} fails") from error


def stored_and_shown(folder: Path, batch: list[int]) -> None:
    stand = Stand(folder)
    for seed in batch:
        try:
            incoming = judged(fuzzed_request(seed))
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


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_answers_any_request_and_goes_on(live: LiveHome, protocol: str) -> None:
    served = live.serve_process("--publish-s", "0.5", "--http", "127.0.0.1:0")
    target = f"unix:{live.home.root}/collector.sock"
    way: Transport = HttpTransport(http_address(live)) if protocol == "http" else GrpcTransport(target)
    try:
        for seed in seeds(SENDING_S):
            answer = way.send(fuzzed_request(seed), gzip=bool(seed % 2))
            assert answer.code in {"OK", "INVALID_ARGUMENT"}, f"LIVESPAN_FUZZ_SEED={seed}: {answer}"
    finally:
        way.close()
    assert served.poll() is None
    with open_channel(target) as channel:
        query = QueryStub(channel)
        status = msgspec.json.decode(query.Status(pb.StatusRequest()).json, type=dict[str, object])
        assert status["unindexed_frames"] == 0
        runs = msgspec.json.decode(query.ListRuns(pb.ListRunsRequest(limit=5)).json, type=list[dict[str, object]])
        for run in runs:
            query.ShowRun(pb.ShowRunRequest(run=pb.RunRef(project=str(run["project"]), run_id=str(run["run_id"]))))
    assert runs


def test_a_collector_answers_any_json_and_goes_on(live: LiveHome) -> None:
    served = live.serve_process("--publish-s", "0.5", "--http", "127.0.0.1:0")
    way = HttpTransport(http_address(live), json=True)
    taken = 0
    for seed in seeds(SENDING_S):
        answer = way.post(broken_json(seed))
        assert answer.code in {"OK", "INVALID_ARGUMENT"}, f"LIVESPAN_FUZZ_SEED={seed}: {answer}"
        taken += answer.code == "OK"
    assert served.poll() is None
    assert taken


def http_address(live: LiveHome) -> str:
    address = read_address(live.home)
    assert address is not None
    return address.http


def broken_json(seed: int) -> bytes:
    """Return a request as JSON, in two cases of three with a few of its characters changed, doubled or left out."""
    chance = random.Random(seed)
    try:
        text = dumps(as_json(fuzzed_request(seed)))
    except (ValueError, DecodeError):
        return chance.randbytes(chance.randrange(200))
    if chance.random() < 0.33:
        return text.encode()
    letters = list(text)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(letters))
        letters[at] = chance.choice(("", letters[at] * 2, '"', "{", "}", "[", "]", "9" * 30, "null", "\\ud800", "\0"))
    return "".join(letters).encode("utf-8", "surrogatepass")

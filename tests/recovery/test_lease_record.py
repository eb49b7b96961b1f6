from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE, attempt_node_id, scope_node_id, trace_id
from livespan.proto.otlp import Request
from livespan.proto.process import ProcessId
from livespan.proto.record import Record, RecordKind
from livespan.proto.v1.livespan_pb2 import Attempt
from livespan.recovery.lease_record import attempt_request, lease_from_record, lease_request
from livespan.recovery.leases import Lease, LeaseEvent

TRACE = trace_id("p", "r", 2)
LEASE = Lease(TRACE, "p", "r", 2, 7, ProcessId(12, 345, "boot", 4026531836, "vm"), "spool-1", 99.0)
TIMELESS = replace(LEASE, expires_s=0.0)


def records(payload: bytes) -> list[Record]:
    return Request(payload).records(10)


@pytest.mark.parametrize("event", list(LeaseEvent))
def test_what_happened_to_a_lease_can_be_read_back(event: LeaseEvent) -> None:
    [record] = records(lease_request(LEASE, event, 3, 1_000))
    assert (record.kind, record.node_id, record.attempt) == (RecordKind.LEASE, scope_node_id(TRACE, ROOT_SCOPE), 3)
    assert lease_from_record(record) == (event, TIMELESS)


def test_a_life_begins_with_its_lease_and_what_it_was_started_with() -> None:
    told = Attempt(
        argv=["python", "agent.py"],
        cwd="/srv",
        environment=["PATH", "HOME"],
        fingerprint="f",
        session="s",
        tags={"a": "b"},
    )
    granted, life = records(attempt_request(LEASE, 2, told, 1_000))
    assert lease_from_record(granted) == (LeaseEvent.GRANTED, TIMELESS)
    assert (life.kind, life.node_id, life.name) == (RecordKind.ATTEMPT, attempt_node_id(TRACE, 2), "attempt 2")
    assert life.links == (attempt_node_id(TRACE, 1).hex(),)
    assert (life.session, life.tags, life.attempt, life.epoch, life.generation) == ("s", {"a": "b"}, 2, 7, 2)
    assert life.text(names.ARGV) == '["python","agent.py"]'
    assert life.text(names.ENVIRONMENT) == '["HOME","PATH"]'
    assert (life.text(names.CWD), life.text(names.FINGERPRINT)) == ("/srv", "f")


def test_the_first_life_links_to_none() -> None:
    _, life = records(attempt_request(LEASE, 1, Attempt(), 1_000))
    assert life.links == ()


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {names.LEASE_EVENT: "sold", names.HOLDER: "{}"},
        {names.LEASE_EVENT: "granted", names.HOLDER: "{}"},
        {names.LEASE_EVENT: "granted", names.HOLDER: "no json"},
        {names.LEASE_EVENT: "granted", names.HOLDER: '{"pid": "x"}'},
    ],
)
def test_a_record_that_tells_of_no_lease_is_passed_over(attributes: dict[str, str]) -> None:
    [record] = records(lease_request(LEASE, LeaseEvent.GRANTED, 0, 1))
    assert lease_from_record(msgspec.structs.replace(record, attributes=attributes)) is None

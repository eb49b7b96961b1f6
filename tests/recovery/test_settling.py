from __future__ import annotations

import pytest
from tests.collector.stand import Writer, node, request

from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.errors import Conflict, InvalidInput, LivespanError, NotFound
from livespan.proto.otlp import Request
from livespan.proto.record import RecordKind
from livespan.proto.span import WireSpan
from livespan.proto.v1.livespan_pb2 import ResolveRequest
from livespan.recovery.settling import settle_request


def run_of(*spans: WireSpan) -> RunHistory:
    run = RunHistory("shop", "order-17", 0)
    for record in Request(request(*spans)).records(1):
        run.add(record)
    return run


def settle(run: RunHistory, prefix: str, *, output: bytes | None = b"1", held: bool = False) -> RunHistory:
    """Settle and return the run as it is then."""
    asked = ResolveRequest(node_id=prefix, done=output is not None, output=output or b"", by="ann")
    record, payload = settle_request(run, asked, held=held, now_ns=5)
    [settled] = Request(payload).records(100)
    assert (settled.kind, settled.node_id, settled.text(names.SETTLED_BY)) == (
        RecordKind.SETTLED,
        record.node_id,
        "ann",
    )
    assert settled.writer == ""
    run.add(settled)
    return run


@pytest.mark.parametrize(("output", "said"), [(b'{"id": 7}', "done"), (None, "not_done")])
def test_a_started_effect_is_settled(output: bytes | None, said: str) -> None:
    run = settle(run_of(Writer().started(node(1))), node(1).hex(), output=output)
    newest, started = run.calls[node(1)]
    assert newest.text(names.SETTLED) == said
    assert newest.text(names.TOOL_RESULT) == (output or b"").decode()
    assert newest.failed is (output is None)
    assert started is not None
    assert newest.text(names.CALL_KEY) == started.text(names.CALL_KEY)


def test_an_effect_that_raised_is_in_doubt_and_can_be_settled() -> None:
    writer = Writer()
    settle(run_of(writer.started(node(1)), writer.ended(node(1), failed=True)), node(1).hex())


def test_the_beginning_of_a_nodes_id_is_enough_where_it_is_unique() -> None:
    writer = Writer()
    run = run_of(writer.started(b"\xab" + bytes(7)), writer.started(b"\xac" + bytes(7)))
    with pytest.raises(InvalidInput, match="not unique") as refused:
        settle(run, "a")
    assert refused.value.hint
    settle(run, "AB")
    assert run.calls[b"\xab" + bytes(7)][0].kind is RecordKind.SETTLED


def _settled() -> RunHistory:
    writer = Writer()
    return run_of(writer.started(node(1)), writer.settled(node(1), "done", b"1"))


def _ended() -> RunHistory:
    writer = Writer()
    return run_of(writer.started(node(1)), writer.ended(node(1)))


def _read() -> RunHistory:
    return run_of(Writer().started(node(1), effect=False))


@pytest.mark.parametrize(
    ("run", "words"), [(_settled(), "settled already: done"), (_ended(), "not in doubt"), (_read(), "no effect")]
)
def test_what_is_not_in_doubt_is_not_settled(run: RunHistory, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        settle(run, node(1).hex())


def test_a_run_that_is_running_settles_its_own_doubt() -> None:
    with pytest.raises(Conflict, match="living process") as refused:
        settle(run_of(Writer().started(node(1))), node(1).hex(), held=True)
    assert "Wait" in refused.value.hint


@pytest.mark.parametrize(
    ("prefix", "output", "kind"), [("ff", b"1", NotFound), ("", b"1", NotFound), (node(1).hex(), b"{no", InvalidInput)]
)
def test_what_is_not_there_or_no_json_is_refused_with_a_hint(
    prefix: str, output: bytes, kind: type[LivespanError]
) -> None:
    with pytest.raises(kind) as refused:
        settle(run_of(Writer().started(node(1))), prefix, output=output)
    assert refused.value.hint

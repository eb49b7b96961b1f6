"""Requests as a drain sends them, made before they are needed: OTLP bytes with the attributes that the journal writes.

    node of 1 KB    started (1 KB in) ─ ended (1 KB out)                                    2 records
    node of 50 KB   started (1 KB in) ─ checkpoint (50 KB of state) ─ ended (1 KB out)      3 records

Eight runs take turns, a request each. A run's state is the one before without its oldest message, and with a new one:
what agents keep is mostly what they kept a step ago.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Final

from benchmarks.material import KB, texts
from livespan.proto import attributes as names
from livespan.proto import ids
from livespan.proto.clock import wall_ns
from livespan.proto.node import NodeType
from livespan.proto.record import RecordKind
from livespan.proto.span import (
    JournalSpan,
    Scalar,
    WireSpan,
    attribute_bytes,
    export_request,
    resource_bytes,
    wire_span,
)

__all__ = ["STATE_BYTES", "requests"]

STATE_BYTES: Final = 50 * KB
_RUNS: Final = 8
_TEXTS: Final = 997
_PROJECT: Final = "bench"
_SCOPE: Final = "/"
_MODEL_CALL: Final = attribute_bytes({names.NODE_TYPE: NodeType.PROMPT.value, names.OPERATION: "chat"})
_TOLD: Final[dict[str, Scalar]] = {
    names.MODEL: "model-of-today",
    names.PROVIDER: "provider",
    names.INPUT_TOKENS: 812,
    names.OUTPUT_TOKENS: 204,
}


def requests(name: str, nodes_each: int, *, states: bool) -> Iterator[bytes]:
    """Yield requests of so many nodes each, for ever.

    Args:
        name: begins the runs' ids; no two calls for one collector have the same.
        states: nodes of 50 KB rather than 1 KB.
    """
    contents = [f'"{text}"'.encode() for text in texts(_TEXTS, KB - 2)]
    for run in cycle([_Run(f"{name}-{number}", number * 101, contents) for number in range(_RUNS)]):
        yield export_request([span for _ in range(nodes_each) for span in run.node(states)])


class _Run:
    """One run and its writer; `first` is where in the contents it begins."""

    def __init__(self, run_id: str, first: int, contents: list[bytes]) -> None:
        self._trace = ids.trace_id(_PROJECT, run_id)
        self._root = ids.scope_node_id(self._trace, _SCOPE)
        self._writer = f"writer-of-{run_id}"
        self._resource = resource_bytes(
            {names.PROJECT: _PROJECT, names.RUN_ID: run_id, names.GENERATION: 0, names.ATTEMPT: 1, names.EPOCH: 1}
        )
        self._contents = contents
        self._first = first
        self._nodes = 0
        self._seq = 0

    def node(self, states: bool) -> Iterator[WireSpan]:
        """Yield the records of the next node."""
        number = self._nodes
        self._nodes += 1
        question = self._content(number)
        digest = ids.input_digest(question)
        key = ids.call_key(_SCOPE, NodeType.PROMPT.value, "ask", digest, "", number)
        node = ids.node_id(self._trace, key, 0)
        started_ns = wall_ns()
        identity: dict[str, Scalar] = {names.CALL_KEY: key, names.TRY: 0}
        started: dict[str, Scalar] = {
            names.RECORD: RecordKind.STARTED.value,
            names.SCOPE: _SCOPE,
            names.CALL_DIGEST: digest,
            names.OCCURRENCE: number,
            **identity,
        }
        yield self._call(node, started_ns, 0, started, names.INPUT, question)
        if states:
            yield self._checkpoint(node, number)
        ended: dict[str, Scalar] = {names.RECORD: RecordKind.ENDED.value, **identity, **_TOLD}
        yield self._call(node, started_ns, wall_ns(), ended, names.OUTPUT, self._content(number + 1))

    def _call(
        self, node: ids.NodeId, started_ns: int, ended_ns: int, told: dict[str, Scalar], name: str, text: bytes
    ) -> WireSpan:
        return self._record(
            JournalSpan(
                self._resource,
                self._trace,
                node,
                self._root,
                "ask",
                started_ns,
                ended_ns,
                False,
                _MODEL_CALL,
                told,
                ((name, text),),
            )
        )

    def _checkpoint(self, node: ids.NodeId, number: int) -> WireSpan:
        now = wall_ns()
        told: dict[str, Scalar] = {
            names.RECORD: RecordKind.CHECKPOINT.value,
            names.SCOPE: _SCOPE,
            names.CHECKPOINT_ID: f"{node.hex()}-{number}",
            names.CHECKPOINT_COUNTERS: f'{{"ask":{number}}}',
        }
        span = JournalSpan(self._resource, self._trace, node, b"", "checkpoint", now, now, False, b"", told)
        return self._record(span, self._state(number))

    def _record(self, span: JournalSpan, state: bytes = b"") -> WireSpan:
        self._seq += 1
        return wire_span(span, self._writer, self._seq, state)

    def _content(self, number: int) -> bytes:
        return self._contents[(self._first + number) % _TEXTS]

    def _state(self, number: int) -> bytes:
        kept = b",".join([self._content(number + each) for each in range(STATE_BYTES // KB)])
        return (b'{"step":%d,"messages":[%b]}' % (number, kept)).ljust(STATE_BYTES)[:STATE_BYTES]

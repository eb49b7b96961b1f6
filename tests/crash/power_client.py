"""The agent's side of a collector that loses power: sittings on one run, each answer noted as it arrives.

    resolve what an earlier life left ─▶ ┌─ Hold ─▶ calls: Export; every fourth an effect: Intend, Export ─▶ Close ─┐
                                         └──────────────── Resolve of the effects that were left open ◀────────────┘

There is neither spool nor drain: what is noted is what the collector itself has answered, and nothing is sent twice.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256

import grpc
from tests.crash.power_acks import Ack, AckFile
from tests.crash.witness import Line, Witness, json_digest

from livespan.instrumentation.client import CollectorClient
from livespan.proto import attributes as names
from livespan.proto.errors import Conflict
from livespan.proto.holder import holder_message
from livespan.proto.ids import (
    ROOT_SCOPE,
    attempt_node_id,
    call_key,
    idempotency_key,
    input_digest,
    node_id,
    scope_node_id,
    trace_id,
)
from livespan.proto.node import NodeType
from livespan.proto.process import this_process
from livespan.proto.record import RecordKind
from livespan.proto.rpc import open_channel, translate
from livespan.proto.span import JournalSpan, Scalar, WireSpan, export_request, resource_bytes, wire_span
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import RecoveryStub

__all__ = ["LostError", "PowerClient"]

_NOW_NS = 1_769_850_000_000_000_000
_EFFECT_EVERY = 4
_ANSWER_S = 15.0


class LostError(AssertionError):
    """The collector does not know, or did not do, what it must."""


class PowerClient:
    """Sends one run's records, and notes what was answered.

    Args:
        target: the collector's.
        run, life: which run, and which life of the machine.
        calling: told which call of Recovery is made next, "" when it is over (Intend: until the next).
        intends_here: how many starts of effects the collector has answered on the intend socket.
    """

    def __init__(
        self,
        target: str,
        run: str,
        life: int,
        witness: Witness,
        acks: AckFile,
        coin: random.Random,
        calling: Callable[[str], None],
        intends_here: Callable[[], int],
    ) -> None:
        self._client = CollectorClient(target)
        self._stub = RecoveryStub(open_channel(target))
        self._witness = witness
        self._acks = acks
        self._coin = coin
        self._life = life
        self._calling = calling
        self._intends_here = intends_here
        self._run = pb.RunRef(project="default", run_id=run)
        self._trace = trace_id("default", run)
        self._writer = os.urandom(8).hex()
        self._seq = 0
        self._number = 0
        self._epoch = 0
        self._resource = b""

    def resume(self, before: list[Ack]) -> None:
        """Do what follows a power cut: settle an effect that was left, open the run, and look for the others in it.

        Raises:
            LostError: an effect whose start was acknowledged is not among the recorded calls.
        """
        settled = {ack.node for ack in before if ack.what == "settled"}
        left = [ack.node for ack in before if ack.left and ack.node not in settled]
        if left:
            with suppress(Conflict):  # it was settled, and the power went before the answer came
                self._resolve(left[-1])
        over = self._hold()
        calls = {node for reply in self._client.open(self._run, self._epoch) for node in reply.calls.node_id}
        lost = [ack.node for ack in before if ack.what == "intended" and bytes.fromhex(ack.node) not in calls]
        if lost:
            raise LostError(f"Open does not tell of the effects {lost}")
        self._close(over)

    def sit(self, calls: int) -> None:
        """Hold the run for some calls and give it back; then settle the effects that were left open."""
        over = self._hold()
        left = [self._effect() if number % _EFFECT_EVERY == 0 else self._think() for number in range(calls)]
        self._close(over)
        for node in filter(None, left):
            self._resolve(node)

    def _hold(self) -> threading.Event:
        """Take the lease; it is held until what is returned is set."""
        over = threading.Event()
        holder = holder_message(this_process(), "")

        def asked() -> Iterator[pb.HoldRequest]:
            yield pb.HoldRequest(run=self._run, holder=holder, attempt=pb.Attempt(), token=os.urandom(8).hex())
            over.wait()

        self._calling("hold")
        try:
            reply = next(self._client.hold(asked()))
        except grpc.RpcError as error:
            raise translate(error) from error
        self._epoch = reply.epoch
        node = attempt_node_id(self._trace, reply.attempt).hex()
        self._acks.write(Ack("held", reply.epoch, reply.attempt, node))
        self._calling("")
        self._resource = resource_bytes(
            {
                names.PROJECT: self._run.project,
                names.RUN_ID: self._run.run_id,
                names.ATTEMPT: reply.attempt,
                names.EPOCH: reply.epoch,
                names.WRITER: self._writer,
            }
        )
        return over

    def _close(self, over: threading.Event) -> None:
        """Give the lease back, and with it a last call."""
        started, ended, line = self._call(NodeType.PROMPT, "think", {})
        self._calling("close")
        self._client.close_run(self._run, self._epoch, export_request([started, ended]), _ANSWER_S)
        self._witness.write(line)
        self._acks.write(Ack("closed", self._epoch))
        self._calling("")
        over.set()

    def _resolve(self, node: str) -> None:
        outcome = {"receipt": os.urandom(8).hex()}
        request = pb.ResolveRequest(run=self._run, node_id=node, done=True, output=json.dumps(outcome).encode())
        self._calling("resolve")
        try:
            self._stub.Resolve(request, timeout=_ANSWER_S)
        except grpc.RpcError as error:
            raise translate(error) from error
        self._acks.write(Ack("settled", node=node, output=json_digest(outcome)))
        self._calling("")

    def _effect(self) -> str:
        """Start an effect by Intend and end it by Export; return its node where it is left open, else ""."""
        key = call_key(ROOT_SCOPE, NodeType.TOOL.value, "pay", input_digest(self._given(self._number)), "", 0)
        provider_key = idempotency_key(self._trace, key)
        started, ended, line = self._call(
            NodeType.TOOL, "pay", {names.EFFECT: True, names.IDEMPOTENCY_KEY: provider_key}
        )
        by_socket = self._intends_here()
        self._calling("intend")
        self._client.intend(self._run, self._epoch, export_request([started]), _ANSWER_S)
        left = self._coin.random() < 0.4
        self._acks.write(Ack("intended", self._epoch, node=line.node, key=provider_key, left=left))
        if self._intends_here() == by_socket:
            raise LostError("the intend socket does not serve: the start went another way")
        if left:
            return line.node
        self._client.export(export_request([ended]))
        self._witness.write(line)
        return ""

    def _think(self) -> str:
        """Send a call, its start and its end in one request or in two, and perhaps a checkpoint."""
        started, ended, line = self._call(NodeType.PROMPT, "think", {})
        if self._coin.random() < 0.3:
            self._client.export(export_request([started]))
            self._client.export(export_request([ended]))
        else:
            self._client.export(export_request([started, ended]))
        self._witness.write(line)
        if self._coin.random() < 0.3:
            self._checkpoint(bytes.fromhex(line.node), line.label)
        return ""

    def _checkpoint(self, node: bytes, label: str) -> None:
        state, name = os.urandom(self._coin.randrange(1, 20_000)), os.urandom(8).hex()
        about: dict[str, Scalar] = {names.SCOPE: ROOT_SCOPE, names.CHECKPOINT_ID: name, names.CHECKPOINT_COUNTERS: "{}"}
        span = self._span(RecordKind.CHECKPOINT, NodeType.PROMPT, "checkpoint", node, about, (), state)
        self._client.export(export_request([span]))
        digest = sha256(state).hexdigest()
        self._witness.write(Line("checkpoint", self._life, label, "checkpoint", state=digest, checkpoint=name))

    def _call(self, kind: NodeType, name: str, about: dict[str, Scalar]) -> tuple[WireSpan, WireSpan, Line]:
        """Return the next call's start and end, and what a witness says of it."""
        number, self._number = self._number, self._number + 1
        data = self._given(number)
        output = {"answer": os.urandom(8).hex(), "text": os.urandom(self._coin.choice((20, 400, 12_000))).hex()}
        key = call_key(ROOT_SCOPE, kind.value, name, input_digest(data), "", 0)
        node = node_id(self._trace, key, 0)
        place: dict[str, Scalar] = {names.SCOPE: ROOT_SCOPE, names.CALL_KEY: key, names.TRY: 0, names.OCCURRENCE: 0}
        started = self._span(RecordKind.STARTED, kind, name, node, {**place, **about}, ((names.INPUT, data),))
        answer = json.dumps(output).encode()
        ended = self._span(RecordKind.ENDED, kind, name, node, {**place, **about}, ((names.OUTPUT, answer),))
        given = json_digest(json.loads(data))
        label = json.loads(data)["label"]
        return started, ended, Line("returned", self._life, label, name, node.hex(), "", given, json_digest(output))

    def _given(self, number: int) -> bytes:
        return json.dumps({"label": f"life{self._life}.{number}"}).encode()

    def _span(
        self,
        record: RecordKind,
        kind: NodeType,
        name: str,
        node: bytes,
        about: dict[str, Scalar],
        texts: tuple[tuple[str, bytes], ...],
        state: bytes = b"",
    ) -> WireSpan:
        self._seq += 1
        ended = 0 if record is RecordKind.STARTED else _NOW_NS + self._seq
        parent = scope_node_id(self._trace, ROOT_SCOPE)
        own: dict[str, Scalar] = {names.NODE_TYPE: kind.value, names.RECORD: record.value, **about}
        span = JournalSpan(self._resource, self._trace, node, parent, name, _NOW_NS, ended, False, b"", own, texts)
        return wire_span(span, self._writer, self._seq, state)

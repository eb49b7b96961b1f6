"""Settling doubt by hand: which node is meant, whether it may be settled, and the record that settles it."""

from __future__ import annotations

import msgspec

from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.errors import Conflict, InvalidInput, NotFound
from livespan.proto.life import life_resource
from livespan.proto.record import Record, RecordKind
from livespan.proto.span import JournalSpan, export_request, wire_span
from livespan.proto.v1.livespan_pb2 import ResolveRequest

__all__ = ["settle_request"]


def settle_request(run: RunHistory, request: ResolveRequest, *, held: bool, now_ns: int) -> tuple[Record, bytes]:
    """Return the record that is in doubt and the request that settles it.

    Raises:
        NotFound: no node of the run has this id or prefix.
        InvalidInput: the prefix is not unique, or the output is no JSON.
        Conflict: the run is held by a living process, or the node is not in doubt.
    """
    newest, started = _find(run, request.node_id)
    subject = f"run {run.run_id}, node {newest.node_id.hex()}"
    if held:
        raise Conflict(
            "a living process runs this run and may still settle the effect itself",
            subject=subject,
            hint="Wait until it ends, or stop it, then resolve.",
        )
    record = started or newest
    if not record.flag(names.EFFECT):
        raise Conflict("it is no effect, so it is never in doubt", subject=subject)
    if newest.kind is RecordKind.SETTLED:
        raise Conflict(f"it is settled already: {newest.text(names.SETTLED)}", subject=subject)
    if newest.kind is RecordKind.ENDED and (not newest.failed or newest.flag(names.NOT_DONE)):
        raise Conflict("its outcome is recorded, so it is not in doubt", subject=subject)
    output = request.output if request.done else b""
    if request.done:
        try:
            msgspec.json.decode(output)
        except msgspec.DecodeError as error:
            raise InvalidInput(
                f"the outcome is not JSON: {error}", subject=subject, hint="Give --done '{\"id\": 7}'."
            ) from error
    return record, export_request([wire_span(_settled(run, record, request, output, now_ns), "", 0)])


def _settled(run: RunHistory, record: Record, request: ResolveRequest, output: bytes, now_ns: int) -> JournalSpan:
    resource = life_resource(
        project=record.project,
        run_id=record.run_id,
        generation=record.generation,
        attempt=record.attempt,
        epoch=run.last_epoch,
    )
    return JournalSpan(
        resource=resource,
        trace_id=record.trace_id,
        node_id=record.node_id,
        parent_id=record.parent_id,
        name=record.name,
        started_ns=record.started_ns,
        ended_ns=now_ns,
        failed=not request.done,
        fixed=b"",
        attributes={
            names.RECORD: RecordKind.SETTLED.value,
            names.SETTLED: "done" if request.done else "not_done",
            names.SETTLED_BY: request.by or "resolve",
            names.EFFECT: True,
            names.NODE_TYPE: record.text(names.NODE_TYPE),
            names.CALL_KEY: record.text(names.CALL_KEY),
            names.SCOPE: record.text(names.SCOPE),
        },
        texts=((names.TOOL_RESULT, output),) if request.done else (),
    )


def _find(run: RunHistory, prefix: str) -> tuple[Record, Record | None]:
    wanted = prefix.lower()
    found = [call for node, call in run.calls.items() if node.hex().startswith(wanted)] if wanted else []
    if not found:
        raise NotFound(
            f"no node {prefix!r}",
            subject=f"run {run.run_id}",
            hint=f"`livespan runs show {run.run_id}` shows the nodes.",
        )
    if len(found) > 1:
        raise InvalidInput(f"node {prefix!r} is not unique", subject=f"run {run.run_id}", hint="Give more digits.")
    return found[0]

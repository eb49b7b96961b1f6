"""One open run in this process: the core's decisions carried out. Calls come from decorators and frameworks alike.

    call ─▶ encode the input ─▶ core.begin ─┬─ Answer ─▶ decode, or raise the recorded error
                                            ├─ Doubt ──▶ probe ─▶ settled record ─▶ Answer or Live
                                            └─ Live ───▶ started record  (an effect: acknowledged, by the barrier)
                                                         ─▶ body ─▶ ended record, spooled ─▶ hand the result on

How a run is opened and closed is opening.py; what a user writes is run.py and decorators.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Final, TypeVar

import msgspec

from livespan.instrumentation.branches import CURRENT
from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Answered, OpenCall, RecordedValue, Request, answer
from livespan.instrumentation.composites import say_composite
from livespan.instrumentation.core import (
    NOT_DONE,
    Answer,
    Call,
    Core,
    Doubt,
    Live,
    ProgramChanged,
    Scope,
    origins,
    says_not_done,
)
from livespan.instrumentation.divergence import with_difference
from livespan.instrumentation.journal import Journal
from livespan.instrumentation.permission import Permission
from livespan.instrumentation.permission_pool import permission_pool
from livespan.proto.clock import wall_ns
from livespan.proto.codec import encode_identity, encode_input
from livespan.proto.errors import InDoubt, InvalidInput, SpoolFull, Stop, Unrecordable
from livespan.proto.ids import NodeId, TraceId, input_digest
from livespan.proto.span import Scalar

__all__ = ["SESSIONS", "Session"]

_T = TypeVar("_T")
SESSIONS: Final[dict[TraceId, Session]] = {}
"""The runs that are open in this process, so that a scope leads to its session."""


def _always() -> bool:
    return True


class Session:
    """One run, open in this process.

    Args:
        core: its rules and state.
        journal: where its records go.
        permission: what an effect needs before it may start.
        fetch: returns a recorded content that was too large to be sent at once: (node id, "input" | "output") -> bytes.
        lease_is_valid: whether the lease lives by our own clock; asked before every call.

    Attributes:
        reused: calls that were answered from the record; executed: those that ran.
    """

    def __init__(
        self,
        core: Core,
        journal: Journal,
        permission: Permission,
        fetch: Callable[[NodeId, str], bytes],
        lease_is_valid: Callable[[], bool] = _always,
    ) -> None:
        self.core = core
        self.journal = journal
        self.permission = permission
        self.reused = 0
        self.executed = 0
        self._fetch = fetch
        self._lease_is_valid = lease_is_valid
        self._inside: dict[str, OpenCall] = {}
        core.root.on_end = self.branch_ended

    # What callers use: a call, synchronous or asynchronous.

    def call(self, scope: Scope, site: CallSite, request: Request, body: Callable[[], _T]) -> _T:
        """Make a call, or answer it from the record.

        Raises:
            Unrecordable: the input has no codec; the call was not made. Or its result has none; it was.
            Stop: InDoubt, Divergence, LeaseLost, EffectUnavailable; sticky in this run.
            BaseException: what `body` raised, now or in the life that recorded it.
        """
        begun = self.ask(scope, site, request)
        if type(begun) is Answered:
            return begun.value  # type: ignore[no-any-return]  # what a codec decoded
        assert isinstance(begun, OpenCall)
        self.start(begun)
        token = CURRENT.set(begun.live.inside)
        try:
            result = body()
        except BaseException as error:
            self._failed(begun, error)
            raise
        finally:
            CURRENT.reset(token)
            self._inside.pop(begun.live.inside.path, None)
        self._done(begun, result)
        return result

    async def acall(self, scope: Scope, site: CallSite, request: Request, body: Callable[[], Awaitable[_T]]) -> _T:
        """Make an asynchronous call, or answer it; as `call`. An effect's permission is awaited off the loop."""
        begun = self.ask(scope, site, request)
        if type(begun) is Answered:
            return begun.value  # type: ignore[no-any-return]  # what a codec decoded
        assert isinstance(begun, OpenCall)
        await self.astart(begun)
        token = CURRENT.set(begun.live.inside)
        try:
            result = await body()
        except BaseException as error:
            self._failed(begun, error)
            raise
        finally:
            CURRENT.reset(token)
            self._inside.pop(begun.live.inside.path, None)
        self._done(begun, result)
        return result

    def begin(self, scope: Scope, site: CallSite, request: Request) -> OpenCall | Answered:
        """Begin a call whose result comes in parts (a stream), or answer it; its caller ends it by `end` or `fail`."""
        begun = self.ask(scope, site, request)
        if isinstance(begun, OpenCall):
            self.start(begun)
        return begun

    def again(self, call: OpenCall) -> OpenCall:
        """Return the next try of a call that failed and is to be tried again; it is not started yet."""
        self._check()
        live = self.core.again(call.live)
        following = OpenCall(call.scope, call.site, live, call.codec, call.data, wall_ns())
        following.asked_ns = call.asked_ns
        return following

    def end(self, call: OpenCall, result: object) -> None:
        """End such a call; its result is recorded when this returns. Raises as `call` does."""
        self._inside.pop(call.live.inside.path, None)
        self._done(call, result)

    def fail(self, call: OpenCall, error: BaseException, retry_after_s: float | None = None) -> None:
        """End such a call by the error that it raised; `retry_after_s` where it is tried again, so long after."""
        self._inside.pop(call.live.inside.path, None)
        self._failed(call, error, retry_after_s)

    def idempotency_key(self, scope: Scope) -> str:
        """Return the key of the innermost call that runs around `scope`; "" where none does."""
        begun = self._around(scope)
        return begun.live.idempotency_key if begun is not None else ""

    def around(self, scope: Scope) -> CallSite | None:
        """Return the site of the innermost call that runs around `scope`, None where none does."""
        begun = self._around(scope)
        return begun.site if begun is not None else None

    def annotate(self, scope: Scope, notes: Mapping[str, Scalar]) -> None:
        """Add attributes to the end of the innermost call that runs around `scope`."""
        begun = self._around(scope)
        if begun is not None:
            begun.notes.update(notes)

    def checkpoint(self, scope: Scope, checkpoint_id: str, state: bytes) -> None:
        """Keep a state at the current node of `scope`.

        Raises:
            SpoolFull: there was no room within the budget; the state was not kept.
            Stop: the run was stopped.
        """
        self._check()
        begun = self._around(scope)
        outer = begun.scope if begun is not None else scope
        node = begun.live.node_id if begun is not None else scope.node_id
        self.journal.checkpoint(outer, node, checkpoint_id, state)

    def restore(self, scope: Scope, order: int, counters: str) -> None:
        """Go on from a checkpoint of `scope`: its place in the run's log, and the counters that it stored (JSON)."""
        self._check()
        self.core.restore(scope, order, msgspec.json.decode(counters or "{}", type=dict[str, int]))

    def enter(self, scope: Scope, name: str) -> Scope:
        """Enter a named scope."""
        return self.core.enter(scope, name)

    def leave(self, scope: Scope, error: BaseException | None) -> None:
        """Leave a scope; its end is recorded."""
        try:
            self.core.leave(scope, error)
        except ProgramChanged as stop:
            raise self._explained(stop, None) from None
        self.branch_ended(scope, error, left=True)

    def branch_ended(self, scope: Scope, error: BaseException | None, left: bool = False) -> None:
        """Record the end of a branch, be it a task, a thread or a scope."""
        if isinstance(error, Stop):
            return
        self.journal.scope_ended(scope, error, origins(error) if error is not None else ())
        if not left:
            self.core.leave(scope, error)

    # How a call begins.

    def ask(self, scope: Scope, site: CallSite, request: Request) -> OpenCall | Answered:
        """Answer a call, or say that it is to be made: `start` it then, and `end` or `fail` it."""
        self._check()
        if self._inside and scope.parent is not None:
            self._look_around(scope, site)
        if site.mask_output and not self.journal.masks:
            raise InvalidInput(
                "it says mask_output=True and its run has no mask, so it was not called",
                subject=site.name,
                hint="Give one: run(ID, mask=...), instrument(mask=...), or LIVESPAN_MASK.",
            )
        try:
            data = encode_input(request.value)
            seen = request.value if request.seen is None else request.seen
            identity = encode_identity(seen, data if request.seen is None else encode_input(seen))
        except Unrecordable as error:
            raise _of(error, f"{site.name} was not called") from None
        digest = input_digest(identity)
        call = Call(site.kind, site.name, digest, site.effect, request.call_id, site.in_doubt)
        now = wall_ns()
        try:
            begun = self.core.begin(scope, call, now)
        except ProgramChanged as stop:
            raise self._explained(stop, self.journal.masked_input(site, data)) from None
        if type(begun) is Doubt:
            begun = self._probe(scope, site, begun, request)
        if type(begun) is Answer:
            self.reused += 1
            return answer(begun.recorded, request.codec, self._fetch)
        assert isinstance(begun, Live)
        return OpenCall(scope, site, begun, request.codec, data, now)

    def _check(self) -> None:
        if self.core.stopped is not None:
            raise self.core.stopped.with_traceback(None)
        if not self._lease_is_valid():
            # One that was frozen past its lease goes on before its lease's thread has heard that the run is another's.
            raise self.core.stop(self.permission.lease_lost())

    def start(self, begun: OpenCall) -> None:
        """Write the started record of what `ask` let begin; of an effect, have it acknowledged."""
        if begun.site.effect:
            self._intend(begun)
        else:
            begun.recorded = self.journal.started(begun.scope, begun.site, begun.live, begun.data, begun.started_ns)
        self._inside[begun.live.inside.path] = begun
        self.executed += 1

    async def astart(self, begun: OpenCall) -> None:
        """As `start`; an effect's permission is awaited off the loop."""
        if not begun.site.effect:
            self.start(begun)
            return
        # In an empty context, so that this thread of ours is no branch of the program's.
        loop = asyncio.get_running_loop()
        await Context().run(loop.run_in_executor, permission_pool(), self.start, begun)

    def _intend(self, begun: OpenCall) -> None:
        """Have an effect's start acknowledged; where the collector is away and the user said so, spool it instead."""
        live, scope, site = begun.live, begun.scope, begun.site
        try:
            wire = self.journal.started_wire(scope, site, live, begun.data, begun.started_ns)
            try:
                if self.permission.ask(wire):
                    return
            except BaseException:
                self.journal.take_back_promise()
                raise
            self.journal.take_back_promise()
            if not self.journal.started(scope, site, live, begun.data, begun.started_ns):
                raise SpoolFull("the spool has no room for the start of an effect")
        except Stop as stop:
            raise self.core.stop(stop) from None
        except SpoolFull as error:
            raise self.core.stop(self.permission.refused(error)) from error

    def _probe(self, scope: Scope, site: CallSite, doubt: Doubt, request: Request) -> Answer | Live:
        """Ask the tool's probe what became of an effect, and record what it says."""
        args, kwargs = request.arguments
        try:
            found = doubt.probe.look(doubt.idempotency_key, *args, **kwargs)
        except Exception as error:
            raise self.core.stop(
                InDoubt(
                    f"the probe of {site.name} failed: {type(error).__name__}: {error}",
                    subject=f"{self.core.run_id}/{doubt.recorded.node_id.hex()}",
                    hint=f"Mend the probe, or: livespan resolve {self.core.run_id} {doubt.recorded.node_id.hex()} "
                    "--done JSON (or --not-done)",
                )
            ) from error
        if found is NOT_DONE:
            self.journal.settled(scope, site, doubt.recorded.node_id, "probe", None)
            return self.core.settle(doubt, NOT_DONE)
        data = request.codec.encode(found)
        self.journal.settled(scope, site, doubt.recorded.node_id, "probe", data)
        return self.core.settle(doubt, RecordedValue(data))

    # How a call ends.

    def _done(self, begun: OpenCall, result: object) -> None:
        """Record a result before anybody sees it."""
        if not begun.recorded:
            return
        live, scope, site = begun.live, begun.scope, begun.site
        try:
            data = begun.codec.encode(result)
        except Unrecordable as error:
            self.journal.ended_unrecordable(scope, site, live, str(error), begun.started_ns)
            self.core.done(live)
            raise _of(error, f"{site.name} was done, and its result cannot be recorded") from None
        told = begun.codec.told(result)
        self._write_end(begun, lambda: self.journal.ended(scope, site, live, data, told, begun.notes, begun.started_ns))
        try:
            self.core.done(live, told.issued)
        except ProgramChanged as stop:
            raise self._explained(stop, None) from None

    def _failed(self, begun: OpenCall, error: BaseException, retry_after_s: float | None = None) -> None:
        """Record the error that a call ended by; a Stop is none: it ends the run, and the call stays open."""
        if isinstance(error, Stop) or not begun.recorded:
            return
        not_done = begun.site.effect and says_not_done(error, begun.site.not_done_on)
        cancelled = isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit))
        self._write_end(
            begun,
            lambda: self.journal.failed(
                begun.scope,
                begun.site,
                begun.live,
                error,
                not_done=not_done,
                cancelled=cancelled,
                notes=begun.notes,
                started_ns=begun.started_ns,
                retry_after_s=retry_after_s,
            ),
        )
        self.core.failed(begun.live, error)

    def _write_end(self, begun: OpenCall, write: Callable[[], None]) -> None:
        """Write an end; where even its reserved room is gone (a full disk), an effect's end must not be lost in
        silence.
        """
        try:
            write()
        except SpoolFull as error:
            if begun.site.effect:
                raise self.core.stop(self.permission.result_lost(begun.site.name, error)) from error
            self.journal.lost(begun.scope, error)

    def _look_around(self, scope: Scope, site: CallSite) -> None:
        """Say once of a tool or step that it makes calls of its own: it was not declared as what does.

        Raises:
            InvalidInput: it is tried again by itself, and what is called in it would be done again.
        """
        outer = self._around(scope)
        if outer is None or site.is_value:
            return
        if outer.site.repeats:
            raise InvalidInput(
                f"it was not called: {outer.site.name} around it says retry=, and would do it once for each try",
                subject=site.name,
                hint=f"Say retry= of {site.name} itself, and declare {outer.site.name} {outer.site.as_scope}.",
            )
        if outer.site.as_scope:
            say_composite(outer.site, site)

    def _around(self, scope: Scope | None) -> OpenCall | None:
        while scope is not None:
            begun = self._inside.get(scope.path)
            if begun is not None:
                return begun
            scope = scope.parent
        return None

    def _explained(self, stop: ProgramChanged, asked: bytes | None) -> Stop:
        """Return the stop with the first difference of the inputs in its message."""
        return with_difference(stop, asked, self._fetch)


def _of(error: Unrecordable, what: str) -> Unrecordable:
    """Return the error with what it means for the call."""
    return Unrecordable(f"{error.message}: {what}", subject=error.subject, hint=error.hint)

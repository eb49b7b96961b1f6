"""The begin/done core: a call is answered from the record, run live, or refused. No I/O is done.

                          begin(scope, call)
                                 |
              in the record? ----+---- not in the record
              |                        |
    ended, settled done: Answer        its id was issued by an answer this life has seen,
    started, cancelled, ended the        and nothing left in its scope bears that id: Live
      run, to be tried again:          its scope has nothing left to claim: Live
      a read: Live, next try           its scope has a gap (a read, or no effect is left): Live
      an effect: Fail -> InDoubt       else: Divergence
                 Retry -> Live, same
                          idempotency key
                 Probe -> Doubt -> settle -> Answer or Live

The caller writes `started` before a live call and `ended` after it, and tells `done` or `failed`
once that is written. A scope that ends well must have nothing left, and so must the run. A Stop is
sticky: it raises again at every later begin, enter and leave, and at the end, so that nobody who
swallowed it goes on.

Threads may call everything here at the same time. State that changes is in claims.py and scope.py,
which say why that is safe; here it is one list of stops, of which the first counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeAlias

import msgspec

from livespan.instrumentation.core.call import NOT_DONE, Call, Fail, Probe, Retry
from livespan.instrumentation.core.claims import Claims
from livespan.instrumentation.core.history import History, Recorded, Settlement, Verdict
from livespan.instrumentation.core.origin import mark
from livespan.instrumentation.core.place import UP_TO, Place
from livespan.instrumentation.core.scope import Scope
from livespan.instrumentation.core.stops import BeyondTheEnd, EffectInDoubt, ProgramChanged
from livespan.proto.errors import Stop
from livespan.proto.ids import CallKey, NodeId, TraceId, call_key, idempotency_key, node_id

__all__ = ["Answer", "Begun", "Core", "Doubt", "Live"]


class Answer(msgspec.Struct, frozen=True, eq=False):
    """The outcome is in the record: give it back, or raise its error again.

    The call is not entered and writes no node.
    """

    recorded: Recorded


class Live(msgspec.Struct, frozen=True, eq=False):
    """The call is to be made.

    Write its started record, run it with `inside` as the current scope, write its end.

    Attributes:
        call_id: the id that took part in the key, "" where none did.
        occurrence: how many equal calls its scope had seen before it.
        inside: the scope of what it starts inside itself.
        earlier: the try before this one. Where that one was cancelled (by a timeout of the program,
            or by whoever lost a race), an asynchronous caller does well to wait up to
            `earlier.ended_ns - earlier.started_ns` to be cancelled again before it asks again.
    """

    call: Call
    key: CallKey
    node_id: NodeId
    call_id: str
    occurrence: int
    try_number: int
    trace: TraceId
    inside: Scope
    earlier: Recorded | None = None

    @property
    def idempotency_key(self) -> str:
        """The key for an effect's provider: the same in every try."""
        return idempotency_key(self.trace, self.key)


class Doubt(msgspec.Struct, frozen=True, eq=False):
    """The effect is in doubt and its tool has a probe.

    Look it up, write the settled record, then `settle`.

    Attributes:
        recorded: the try that is in doubt, to whose node the settled record belongs.
        live: the try that `settle` hands out where the effect was not done.
    """

    recorded: Recorded
    probe: Probe
    live: Live

    @property
    def idempotency_key(self) -> str:
        """The key under which the provider may know the effect."""
        return self.live.idempotency_key


Begun: TypeAlias = Answer | Live | Doubt


class Core:
    """The rules, for one life of one run.

    Args:
        trace: of the run.
        history: what earlier lives recorded.
        run_id: for messages alone.
        finished: an earlier life has ended the run well, so its record has all of its effects.
    """

    __slots__ = ("_calls", "_claims", "_finished", "_stops", "history", "root", "run_id", "trace")

    def __init__(
        self, trace: TraceId, history: History | None = None, *, run_id: str = "", finished: bool = False
    ) -> None:
        self.trace = trace
        self._finished = finished
        self.history = history if history is not None else History()
        self.run_id = run_id
        self._calls = self.history.calls
        self._claims = Claims(self.history)
        self._stops: list[Stop] = []
        self.root = Scope.root(trace, self._claims)

    def begin(self, scope: Scope, call: Call, now_ns: int) -> Begun:
        """Say what is to be done about a call.

        Args:
            now_ns: wall time, for the age of idempotency keys alone.

        Raises:
            InDoubt: the effect was started earlier, its outcome is not known, and its policy does
                not let it be asked again.
            Divergence: the record holds something else here.
            Stop: whatever stopped the run before.
        """
        if self._stops:
            self._raise_again()
        claims = self._claims
        call_id = call.call_id
        if call_id and call_id not in claims.known:
            # An id that no recorded answer issued (a framework's own, fresh in each process) says
            # nothing in another life.
            call_id = ""
        occurrence = scope.occurrence(call.kind, call.name, call.digest, call_id)
        key = call_key(scope.path, call.kind, call.name, call.digest, call_id, occurrence)
        recorded = self._calls.get(key)
        if recorded is None:
            if scope.left:
                self._check_left(scope, call, call_id)
            if self._finished and call.effect:
                raise self.stop(BeyondTheEnd(scope.path, call, run_id=self.run_id))
            return self._live(scope, call, key, call_id, occurrence, None)
        claims.claim(recorded)
        verdict = self.history.verdict(recorded, effect=call.effect)
        if verdict is Verdict.ANSWER:
            claims.claim_inside(key)
            return Answer(recorded)
        live = self._live(scope, call, key, call_id, occurrence, recorded)
        if verdict is Verdict.DOUBT:
            return self._doubtful(recorded, live, now_ns)
        return live

    def again(self, live: Live) -> Live:
        """Return the next try of a call whose last one failed and is to be tried again.

        Raises:
            Stop: whatever stopped the run meanwhile.
        """
        if self._stops:
            self._raise_again()
        number = live.try_number + 1
        node = node_id(self.trace, live.key, number)
        inside = live.inside.parent.inside(live.key, node) if live.inside.parent is not None else live.inside
        return msgspec.structs.replace(live, node_id=node, try_number=number, inside=inside, earlier=None)

    def settle(self, doubt: Doubt, found: Any) -> Answer | Live:
        """Go on after a probe that returned `found`, once the settled record is written.

        A probe that raised has settled nothing: hand an InDoubt to `stop`.
        """
        if found is NOT_DONE:
            return doubt.live
        self._claims.claim_inside(doubt.live.key)
        return Answer(msgspec.structs.replace(doubt.recorded, settled=Settlement.DONE, output=found))

    def done(self, live: Live, issued: Iterable[str] = ()) -> None:
        """Note that a live call ended well, once its end is written.

        Args:
            issued: ids of the calls that its answer, a model's, asks for.

        Raises:
            Divergence, InDoubt: an earlier try of it did inside itself what this one did not.
        """
        if issued:
            self._claims.issue(issued)
        if live.inside.left and not self._stops:
            self._must_be_claimed(live.inside)

    def failed(self, live: Live, error: BaseException) -> None:
        """Note that a live call raised, once its end is written."""
        if not isinstance(error, Stop):
            mark(error, live.node_id)

    def enter(self, scope: Scope, name: str) -> Scope:
        """Enter a named scope. It is entered in every life, never answered."""
        if self._stops:
            self._raise_again()
        return scope.named(name)

    def leave(self, scope: Scope, error: BaseException | None = None) -> None:
        """Leave a scope: a named one, or a branch that ended.

        Raises:
            Divergence, InDoubt: it ends well, and the record holds calls in it that were not made.
            Stop: whatever stopped the run, where that is not what it ends by already.
        """
        self._check_stopped(error)
        if error is None and scope.left:
            self._must_be_claimed(scope)

    def finish(self, error: BaseException | None = None) -> None:
        """End the run. Raises as `leave` does, for everything that the record holds anywhere."""
        self._check_stopped(error)
        if error is None:
            self._raise_owed(self._claims.owed_anywhere(), self.root.path)

    def restore(self, scope: Scope, order: int, stored: Mapping[str, int]) -> None:
        """Go on from a checkpoint of `scope`: what ended before it, there and below, is claimed.

        Args:
            order: place of the checkpoint's record in the run's log.
            stored: what `Scope.place` said at the checkpoint.
        """
        place = Place(scope.path, order, stored)
        self._claims.claim_before(place, order)
        before = [one for one in self._claims.recorded(scope.path) if place.is_before(scope.path, one.order)]
        ended = [one for one in before if 0 < one.ended_order < order and not self._claims.in_doubt(one)]
        scope.go_on_from({name: n for name, n in stored.items() if not name.startswith(("/", UP_TO))}, before, ended)

    def stop(self, reason: Stop) -> Stop:
        """Stop the run; return what stops it, which is the first reason given."""
        self._stops.append(reason)
        return self._stops[0]

    @property
    def stopped(self) -> Stop | None:
        """What stopped the run, or None."""
        return self._stops[0] if self._stops else None

    def _live(
        self,
        scope: Scope,
        call: Call,
        key: CallKey,
        call_id: str,
        occurrence: int,
        earlier: Recorded | None,
    ) -> Live:
        try_number = 0 if earlier is None else self.history.next_try(key)
        node = node_id(self.trace, key, try_number)
        inside = scope.inside(key, node)
        return Live(call, key, node, call_id, occurrence, try_number, self.trace, inside, earlier)

    def _check_left(self, scope: Scope, call: Call, call_id: str) -> None:
        """Refuse a call that the record lacks while its scope has something left, or let it begin."""
        left = list(scope.left.values())
        if call_id and call_id in self._claims.issued:
            # An id asks for one call. If the record holds a call under it, this one is that one
            # changed.
            if all(recorded.call_id != call_id for recorded in left):
                return
        elif scope.gap and not (call.effect and any(recorded.effect for recorded in left)):
            # In a gap the record cannot tell a changed program from a lost answer. A read does no
            # harm; an effect might be one that is in the record under an answer that was lost.
            return
        if left:
            # One of its kind and name before all others, then the first in log order.
            nearest = min(left, key=lambda r: (r.kind != call.kind, r.name != call.name, r.order))
            raise self.stop(ProgramChanged(nearest, scope.path, call, run_id=self.run_id))

    def _doubtful(self, recorded: Recorded, live: Live, now_ns: int) -> Live | Doubt:
        reason = ""
        policy = live.call.in_doubt
        if recorded.conflict:
            policy = Fail()
        match policy:
            case Probe():
                return Doubt(recorded, policy, live)
            case Retry(within_s):
                # Either sign: the clocks of two machines may differ, and a clock that jumped back
                # proves nothing.
                age_s = abs(now_ns - self.history.first_started_ns(live.key)) / 1e9
                if age_s <= within_s:
                    return live
                reason = f"its idempotency key is {age_s:.0f} s old and trusted for {within_s:.0f} s"
            case Fail():
                pass
        raise self.stop(EffectInDoubt(recorded, run_id=self.run_id, reason=reason))

    def _must_be_claimed(self, scope: Scope) -> None:
        self._raise_owed(self._claims.owed(scope.path, gap=scope.gap), scope.path)

    def _raise_owed(self, owed: list[Recorded], path: str) -> None:
        if not owed:
            return
        first = owed[0]
        if self._claims.in_doubt(first):
            raise self.stop(EffectInDoubt(first, run_id=self.run_id))
        raise self.stop(ProgramChanged(first, path, None, run_id=self.run_id))

    def _check_stopped(self, error: BaseException | None) -> None:
        """Raise what stopped the run, unless `error`, which is on its way out, is that."""
        if isinstance(error, Stop) and not self._stops:
            self.stop(error)
        if self._stops and error is not self._stops[0]:
            self._raise_again()

    def _raise_again(self) -> NoReturn:
        # Without the tracebacks of earlier raises, to which this one would be added.
        raise self._stops[0].with_traceback(None)

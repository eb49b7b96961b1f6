"""Trying a failed call again: when, and after how long. Each try is a node of its own under the call's one key.

    ask ─▶ [rest of a recorded wait] ─▶ started ─▶ body ─┬─ result ─▶ ended ─▶ handed on
              ▲                                          └─ error ──▶ ended, `retry_after_s` where it is tried again
              └────────────── wait ◀─── another try ◀──────────┘      else the error is the call's outcome: raised

A failed try says in its own record that another follows, so a life that ends in the wait is gone on with by its next
one: that waits what is left of the wait, and counts what was tried. A try that a death cut short is not one that failed
and does not count. What is decided by tenacity: stop, wait and retry of a `tenacity.Retrying` (time limits count from
this life's first try), and its `before_sleep` is called. It is imported where a tool or step says `retry=`.

An effect is tried again only where that cannot do it twice: its error says that it was not done, or its tool says
`in_doubt="retry"`, and then under the same idempotency key. A call that is tried again makes no calls of its own: what
they had done would be done again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from livespan.instrumentation.branches import entered
from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Answered, OpenCall, Request
from livespan.instrumentation.core import Retry, Scope, says_not_done
from livespan.instrumentation.session import Session
from livespan.proto.clock import wall_ns
from livespan.proto.errors import InvalidInput, LivespanError

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying

__all__ = ["RetrySetting", "Tries"]

_T = TypeVar("_T")
RetrySetting: TypeAlias = "int | Retrying"
"""How many tries there are in all, with growing pauses between them; or a `tenacity.Retrying`."""
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0


class Tries:
    """Makes the calls of one tool or step, each as often as its policy says.

    Args:
        setting: as the user gave it.
        name: of the tool or step.

    Raises:
        InvalidInput: it is neither a number of tries nor a `tenacity.Retrying`.
    """

    def __init__(self, setting: RetrySetting, name: str) -> None:
        from tenacity import Retrying, stop_after_attempt, wait_exponential, wait_random

        if isinstance(setting, int) and not isinstance(setting, bool) and setting >= 1:
            pauses = wait_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S) + wait_random(0, _FIRST_WAIT_S)
            setting = Retrying(stop=stop_after_attempt(setting), wait=pauses)
        if not isinstance(setting, Retrying):
            raise InvalidInput(
                f"retry={setting!r} is no policy",
                subject=name,
                hint="Use a number of tries in all, retry=3, or tenacity.Retrying(stop=..., wait=..., retry=...).",
            )
        self._policy = setting

    def call(self, session: Session, scope: Scope, site: CallSite, request: Request, body: Callable[[], _T]) -> _T:
        """Make a call, or answer it; raises as `Session.call`."""
        begun = session.ask(scope, site, request)
        if isinstance(begun, Answered):
            return begun.value  # type: ignore[no-any-return]  # what a codec decoded
        failures = session.core.history.failures(begun.live.key)
        left_s = _left_s(begun)
        if left_s:  # not even a wait of nothing: it would let go of the GIL
            time.sleep(left_s)
        while True:
            session.start(begun)
            try:
                with entered(begun.live.inside):
                    result = body()
            except BaseException as error:
                pause_s = self._failed(session, begun, error, failures)
                if pause_s is None:
                    raise
            else:
                session.end(begun, result)
                return result
            failures += 1
            time.sleep(pause_s)
            begun = session.again(begun)

    async def acall(
        self, session: Session, scope: Scope, site: CallSite, request: Request, body: Callable[[], Awaitable[_T]]
    ) -> _T:
        """Make an asynchronous call, or answer it; raises as `Session.acall`."""
        begun = session.ask(scope, site, request)
        if isinstance(begun, Answered):
            return begun.value  # type: ignore[no-any-return]  # what a codec decoded
        failures = session.core.history.failures(begun.live.key)
        left_s = _left_s(begun)
        if left_s:
            await asyncio.sleep(left_s)
        while True:
            await session.astart(begun)
            try:
                with entered(begun.live.inside):
                    result = await body()
            except BaseException as error:
                pause_s = self._failed(session, begun, error, failures)
                if pause_s is None:
                    raise
            else:
                session.end(begun, result)
                return result
            failures += 1
            await asyncio.sleep(pause_s)
            begun = session.again(begun)

    def _failed(self, session: Session, begun: OpenCall, error: BaseException, failures: int) -> float | None:
        """Record that a try failed, tell the policy's own hook, and return the pause before the next try.

        None: the error is the call's outcome.
        """
        again = self._again(session, begun, error, failures)
        session.fail(begun, error, again.upcoming_sleep if again is not None else None)
        if again is None:
            return None
        if self._policy.before_sleep is not None:
            self._policy.before_sleep(again)
        return again.upcoming_sleep

    def _again(self, session: Session, begun: OpenCall, error: BaseException, failures: int) -> RetryCallState | None:
        """Return what is to be said of another try, its pause among it; None where the error is the outcome."""
        if not isinstance(error, Exception) or isinstance(error, LivespanError):
            return None
        if begun.site.effect and not _may_repeat(session, begun, error):
            return None
        from tenacity import RetryAction, RetryCallState

        policy = self._policy
        state = RetryCallState(policy, None, (), {})
        state.start_time -= max(0, wall_ns() - begun.asked_ns) / 1e9
        state.attempt_number = failures + 1
        state.set_exception((type(error), error, error.__traceback__))
        if not policy.retry(state):
            return None
        state.upcoming_sleep = max(0.0, float(policy.wait(state)))
        state.next_action = RetryAction(state.upcoming_sleep)
        return None if policy.stop(state) else state


def _may_repeat(session: Session, begun: OpenCall, error: Exception) -> bool:
    """Return whether an effect that raised may be tried again without doing it twice."""
    if says_not_done(error, begun.site.not_done_on):
        return True
    policy = begun.site.in_doubt
    if not isinstance(policy, Retry):
        return False
    known = session.core.history.calls.get(begun.live.key)
    first_ns = begun.asked_ns if known is None else session.core.history.first_started_ns(begun.live.key)
    return abs(wall_ns() - first_ns) / 1e9 <= policy.within_s


def _left_s(begun: OpenCall) -> float:
    """Return what is left of the wait that an earlier life was in when it ended."""
    earlier = begun.live.earlier
    if earlier is None or earlier.retry_after_s is None:
        return 0.0
    waited_s = (wall_ns() - earlier.ended_ns) / 1e9
    # Never longer than the wait itself: the clock may have been set back meanwhile.
    return min(max(0.0, earlier.retry_after_s - waited_s), earlier.retry_after_s)

"""Where a call that a framework or client makes belongs: its session and scope, and whether it is recorded already.

A framework goes on in threads and tasks of its own with what it was doing. Those are branches of the scope that
started them, and name nothing that a user would know: they are passed over. Where several calls of one model answer are
made beside each other, the ids that the answer gave them tell them apart, and the branches are passed over too.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from typing import Any

from livespan.instrumentation.branches import entered
from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.core import FAIL, Scope
from livespan.instrumentation.run_block import active
from livespan.instrumentation.session import Session
from livespan.proto.node import NodeType

__all__ = ["calling_scope", "is_recorded_around", "prompt_site", "scoped", "scoped_parts"]


def calling_scope(same: tuple[str, ...] = (), beside: tuple[str, ...] = (), call_id: str = "") -> tuple[Session, Scope]:
    """Return the session, and the scope that a call of the running code belongs to.

    Args:
        same: how the names of branches begin in which the framework goes on with what it was doing.
        beside: those of branches in which it makes the calls of one answer beside each other.
        call_id: id under which a model asked for the call; "" where none did.
    """
    session, scope = active()
    passed_over = (*same, *beside) if call_id and call_id in scope.claims.known else same
    while scope.parent is not None and scope.path.rpartition("/")[2].startswith(passed_over):
        scope = scope.parent
    return session, scope


def is_recorded_around(session: Session, scope: Scope, kind: NodeType) -> bool:
    """Return whether what is asked now is already a step of this kind: a framework's model call that comes to a hooked
    client, a tool that comes to a hooked MCP session. It is that step, and makes none of its own.
    """
    site = session.around(scope)
    return site is not None and site.kind is kind


@contextmanager
def scoped(name: str, same: tuple[str, ...] = ()) -> Generator[Scope]:
    """Enter a scope for as long as the block runs: an agent, a task, a tool that makes calls of its own."""
    session, around = calling_scope(same)
    scope = session.enter(around, name)
    try:
        with entered(scope):
            yield scope
    except BaseException as error:
        session.leave(scope, error)
        raise
    session.leave(scope, None)


async def scoped_parts(session: Session, scope: Scope, start: Callable[[], Any]) -> AsyncIterator[Any]:
    """Yield what the asynchronous generator that `start` returns yields, from within a scope that was entered.

    Between two parts the code that runs is the reader's, and not in the scope. A Stop that the generator lost is raised
    instead of its next part, and at its end.
    """
    try:
        with entered(scope):
            parts = start()
        try:
            while True:
                with entered(scope):
                    part = await anext(parts, _END)
                if part is _END:
                    break
                if session.core.stopped is not None:
                    raise session.core.stopped.with_traceback(None)
                yield part
        finally:
            with entered(scope):
                await parts.aclose()
    except BaseException as error:
        session.leave(scope, error)
        raise
    session.leave(scope, None)


@functools.lru_cache(maxsize=1024)
def prompt_site(model: str, framework: str) -> CallSite:
    """Return the call site of a model."""
    return CallSite.of(NodeType.PROMPT, model, effect=False, in_doubt=FAIL, framework=framework)


class _End:
    """No part: the generator has ended."""


_END = _End()

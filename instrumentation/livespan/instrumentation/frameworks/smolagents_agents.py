"""Runs of smolagents' agents as scopes, and the ids under which a model asked for the calls that they make.

    agent.run(...)               /ToolCallingAgent.0            the first run of an agent without a name
      managed agent "writer"     /ToolCallingAgent.0/writer.0   whoever calls it: a tool call, or code
      2nd of 3 calls at once     .../~...process_single_tool_call.1/writer.0   one that is called beside others

smolagents does not hand the id of a call on to the tool. It is found again by name and arguments; where an answer asks
twice for the very same, there is none, and the branches that make the two calls tell them apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, TypeAlias

from livespan.instrumentation.branches import entered
from livespan.instrumentation.core import Scope
from livespan.instrumentation.frameworks import calling
from livespan.instrumentation.session import Session

__all__ = ["CALL_ID", "FRAMEWORK", "calling_scope", "in_order", "knowing_ids", "scoped_run", "telling_id"]

_Function: TypeAlias = Callable[..., Any]

FRAMEWORK: Final = "smolagents"
_SAME: Final = ("~evaluate_python_code.<locals>._execute_code.",)
"""The thread in which the local executor runs code, so that it can stop waiting for it."""
_BESIDE: Final = ("~ToolCallingAgent.process_tool_calls.<locals>.process_single_tool_call.",)
"""Threads in which the calls of one answer are made beside each other."""


class _Asked(NamedTuple):
    """A call that the last answer asks for."""

    name: str
    arguments: Any
    call_id: str


_ASKED: Final[ContextVar[tuple[_Asked, ...]]] = ContextVar("livespan_smolagents_asked", default=())
CALL_ID: Final[ContextVar[str]] = ContextVar("livespan_smolagents_call_id", default="")
"""Id of the call that is being made; the tool that it reaches takes it, so that what that one calls has none."""
_END: Final = object()


def calling_scope(call_id: str = "") -> tuple[Session, Scope]:
    """Return the session, and the scope that a call of the running code belongs to."""
    return calling.calling_scope(_SAME, _BESIDE, call_id)


def scoped_run(original: _Function) -> _Function:
    """Return `run` of an agent, in a scope of its name."""

    @functools.wraps(original)
    def run(self: Any, task: Any, stream: bool = False, *args: Any, **kwargs: Any) -> Any:
        # Named when it is called and not when it is first asked: a stream may be asked from anywhere.
        session, around = calling_scope()
        scope = session.enter(around, str(getattr(self, "name", None) or type(self).__name__))
        token = CALL_ID.set("")
        try:
            with entered(scope):
                result = original(self, task, stream, *args, **kwargs)
        except BaseException as error:
            session.leave(scope, error)
            raise
        finally:
            CALL_ID.reset(token)
        if stream:
            return _streamed(session, scope, result)
        session.leave(scope, None)
        return result

    return run


def _streamed(session: Session, scope: Scope, steps: Generator[Any]) -> Iterator[Any]:
    try:
        while True:
            # Only while the agent works: between two steps the code that runs is the reader's.
            with entered(scope):
                step = next(steps, _END)
            if step is _END:
                break
            yield step
    except BaseException as error:
        session.leave(scope, error)
        steps.close()
        raise
    session.leave(scope, None)


def knowing_ids(original: _Function) -> _Function:
    """Return `process_tool_calls`, which makes the calls of an answer, knowing under which ids they were asked for."""

    @functools.wraps(original)
    def process_tool_calls(self: Any, chat_message: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        asked = tuple(
            _Asked(call.function.name, call.function.arguments or {}, call.id) for call in chat_message.tool_calls or ()
        )
        parts = original(self, chat_message, *args, **kwargs)
        while True:
            token = _ASKED.set(asked)
            try:
                part = next(parts, _END)
            finally:
                _ASKED.reset(token)
            if part is _END:
                return
            yield part

    return process_tool_calls


def telling_id(original: _Function) -> _Function:
    """Return `execute_tool_call`, which tells the tool the id of the call."""

    @functools.wraps(original)
    def execute_tool_call(self: Any, tool_name: str, arguments: Any) -> Any:
        ids = [asked.call_id for asked in _ASKED.get() if asked.name == tool_name and asked.arguments == arguments]
        token = CALL_ID.set(ids[0] if len(ids) == 1 else "")
        try:
            return original(self, tool_name, arguments)
        finally:
            CALL_ID.reset(token)

    return execute_tool_call


def in_order(original: _Function) -> _Function:
    """Return what stands in for `as_completed`: the calls of one answer, in its order.

    Which of two calls that fail is the first one would else be told to the model as it happens, another in each life.
    """

    @functools.wraps(original)
    def as_completed(futures: Iterable[Any], timeout: float | None = None) -> Iterator[Any]:
        del timeout
        return iter(futures)

    return as_completed

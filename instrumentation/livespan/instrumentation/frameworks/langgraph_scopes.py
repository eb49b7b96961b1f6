"""Graphs and their tasks as scopes, named by what a later life has again: step, node and place, never a task's id.

    graph.invoke(...)         /LangGraph.0                  the first run of a graph of that name, in the scope of its
    caller
      node "model", step 1    /LangGraph.0/model@1.0
      2nd Send of step 2      /LangGraph.0/tools@2[1].0
        graph in that node    /LangGraph.0/tools@2[1].0/helper.0/model@1.0

LangGraph's own metadata is not enough: two inner graphs that run at the same time have equal steps and paths in it.
So the graph's scope travels in the config, under a key that reaches no metadata and no checkpoint, and a task's scope
is its child whatever thread or task it runs in.

A saver that outlives the process has a resumed graph begin at a later step than the record does. Its tasks would have
other names, and nothing that was done before would be found: such a graph is stopped before it starts anything.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from livespan.instrumentation.branches import entered
from livespan.instrumentation.core import History, Scope
from livespan.instrumentation.frameworks import calling
from livespan.instrumentation.run_block import active
from livespan.instrumentation.session import Session
from livespan.proto.errors import Divergence

__all__ = ["calling_scope", "scoped_astream", "scoped_atask", "scoped_stream", "scoped_task"]

_Function: TypeAlias = Callable[..., Any]

_GRAPH: Final = "__livespan_graph"
_STEP: Final = re.compile(r"@(\d+)(?:\[.*\])?\.\d+$")
_FIRST_STEPS: Final[WeakKeyDictionary[History, dict[str, int]]] = WeakKeyDictionary()
_SAME: Final = (
    "~BaseChatModel._agenerate_with_cache.",
    "~RunnableCallable.ainvoke.",
    "~RunnableSeq.ainvoke.",
    "~run_in_executor.<locals>.",
)
"""Branches in which LangChain and LangGraph go on with what they were doing, in a thread or task: they name nothing."""
_BESIDE: Final = ("~ContextThreadPoolExecutor.map.<locals>.", "~ToolNode._arun_one.")
"""Branches in which a ToolNode makes the calls of one answer beside each other; issued ids tell these apart better."""


def calling_scope(call_id: str = "") -> tuple[Session, Scope]:
    """Return the session, and the scope that a call of the running code belongs to.

    Args:
        call_id: id under which a model asked for the call.
    """
    return calling.calling_scope(_SAME, _BESIDE, call_id)


def scoped_stream(original: _Function) -> _Function:
    """Return `Pregel.stream`, which `invoke` comes to, entering a scope."""

    @functools.wraps(original)
    def stream(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002 - its own word
        # Named when it is called and not when it is first asked: a stream may be asked from anywhere.
        session, scope = _enter(self)
        return _sync(session, scope, original(self, input, _carrying(config, scope), **kwargs))

    return stream


def scoped_astream(original: _Function) -> _Function:
    """Return `Pregel.astream`, which `ainvoke` comes to, entering a scope."""

    @functools.wraps(original)
    def astream(self: Any, input: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:  # noqa: A002 - its own word
        session, scope = _enter(self)
        return _async(session, scope, original(self, input, _carrying(config, scope), **kwargs))

    return astream


def scoped_task(original: _Function) -> _Function:
    """Return `run_with_retry`, which runs one task with its retries, in the task's scope."""

    @functools.wraps(original)
    def run_with_retry(task: Any, *args: Any, **kwargs: Any) -> Any:
        entering = _enter_task(task)
        if entering is None:
            return original(task, *args, **kwargs)
        session, scope = entering
        try:
            with entered(scope):
                result = original(task, *args, **kwargs)
        except BaseException as error:
            session.leave(scope, error)
            raise
        session.leave(scope, None)
        return result

    return run_with_retry


def scoped_atask(original: _Function) -> _Function:
    """Return `arun_with_retry`, in the task's scope."""

    @functools.wraps(original)
    async def arun_with_retry(task: Any, *args: Any, **kwargs: Any) -> Any:
        entering = _enter_task(task)
        if entering is None:
            return await original(task, *args, **kwargs)
        session, scope = entering
        try:
            with entered(scope):
                result = await original(task, *args, **kwargs)
        except BaseException as error:
            session.leave(scope, error)
            raise
        session.leave(scope, None)
        return result

    return arun_with_retry


@dataclass(slots=True)
class _Graph:
    """One run of a graph: its scope, and whether a task of it has begun."""

    scope: Scope
    begun: bool = False


def _enter(graph: Any) -> tuple[Session, Scope]:
    session, around = calling_scope()
    return session, session.enter(around, str(graph.get_name()))


def _carrying(config: Any, scope: Scope) -> dict[str, Any]:
    carried: dict[str, Any] = dict(config or {})
    carried["configurable"] = {**(carried.get("configurable") or {}), _GRAPH: _Graph(scope)}
    return carried


def _sync(session: Session, scope: Scope, parts: Iterator[Any]) -> Iterator[Any]:
    # The scope is not set here: a generator's context is that of whoever asks it next.
    try:
        yield from parts
    except BaseException as error:
        session.leave(scope, error)
        raise
    session.leave(scope, None)


async def _async(session: Session, scope: Scope, parts: Any) -> AsyncIterator[Any]:
    try:
        try:
            async for part in parts:
                yield part
        finally:
            await parts.aclose()
    except BaseException as error:
        session.leave(scope, error)
        raise
    session.leave(scope, None)


def _enter_task(task: Any) -> tuple[Session, Scope] | None:
    """Enter a task's scope; None where the graph was started by a way that is not hooked."""
    config = task.config
    graph = config.get("configurable", {}).get(_GRAPH)
    if not isinstance(graph, _Graph):
        return None
    step = config.get("metadata", {}).get("langgraph_step", "")
    with entered(graph.scope):
        session, _ = active()
    if not graph.begun:
        _refuse_later_beginning(session, graph.scope, step)
        graph.begun = True
    return session, session.enter(graph.scope, f"{task.name}@{step}{_place(task.path[:3])}")


def _refuse_later_beginning(session: Session, scope: Scope, step: object) -> None:
    """Stop the run where a graph begins behind what is recorded of it."""
    first = _first_steps(session.core.history).get(scope.path)
    if isinstance(step, int) and first is not None and step > first:
        raise session.core.stop(
            Divergence(
                f"the graph goes on from step {step}, where its saver stands, and the record of {scope.path} begins "
                f"with step {first}",
                subject=session.core.run_id,
                hint='Give it a thread of this life alone, "thread_id": f"{r.id}-{r.attempt}": the record answers what '
                "was done. What another process is to go on with (an approval, a further turn) is a run of its own.",
            )
        )


def _first_steps(history: History) -> dict[str, int]:
    """Return, by a graph's path, the first step of it that has a recorded call; read once for each life."""
    found = _FIRST_STEPS.get(history)
    if found is None:
        found = _FIRST_STEPS[history] = {}
        for path in {recorded.scope for recorded in history.calls.values()}:
            graph = ""
            for segment in path[1:].split("/"):
                step = _STEP.search(segment)
                if step is not None:
                    found[graph] = min(int(step[1]), found.get(graph, int(step[1])))
                graph += "/" + segment
    return found


def _place(path: tuple[Any, ...]) -> str:
    """Return where among the tasks of its step one stands: "" for a node that its edges started, else its number.

    A path is (`__pregel_pull`, node), (`__pregel_push`, number, ...) or (`__pregel_push`, path of the caller,
    number); beyond three parts it holds ids that differ in every life.
    """
    if not path or path[0] == "__pregel_pull":
        return ""
    return f"[{','.join(_canonical(part) for part in path[1:] if not isinstance(part, bool))}]"


def _canonical(part: Any) -> str:
    if isinstance(part, tuple):
        inner: tuple[Any, ...] = part  # pyright: ignore[reportUnknownVariableType]  # of whatever parts
        return f"({','.join(_canonical(one) for one in inner if not isinstance(one, bool))})"
    return str(part)

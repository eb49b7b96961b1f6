"""Agents, graphs, their nodes and swarms as scopes, by their names. None of them is answered, only what they call.

    agent("...")           /Strands Agents.0                       the first run of an agent of that name
    a tool that is one     /Strands Agents.0/~ConcurrentToolExecutor._task.1/helper.0
    a graph's node         /default_graph.0/writer.0/Strands Agents.0

The tasks of an executor are started in the order of the model's answer, those of a graph in the order of a set, which
differs in every process; so a node is a child of its graph whatever task it runs in. A node's input is made in the
order of such a set, too: the graph's edges are given one.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, TypeAlias

from livespan.instrumentation.core import Scope
from livespan.instrumentation.frameworks import calling
from livespan.instrumentation.frameworks.calling import scoped_parts
from livespan.instrumentation.session import Session

__all__ = ["calling_scope", "scoped_agent", "scoped_graph", "scoped_node", "scoped_swarm"]

_Function: TypeAlias = Callable[..., Any]

_SAME: Final = (
    "~run_async.<locals>.",
    "~Graph._stream_node_to_queue.",
)
"""Branches in which Strands goes on with what it was doing: a loop in a thread of its own, and a graph's node, which is
a scope by its name.
"""
_BESIDE: Final = ("~ConcurrentToolExecutor._task.",)
"""Those in which it makes the calls of one answer beside each other."""


def calling_scope(call_id: str = "") -> tuple[Session, Scope]:
    """Return the session, and the scope that a call of the running code belongs to.

    Args:
        call_id: id under which a model asked for the call.
    """
    return calling.calling_scope(_SAME, _BESIDE, call_id)


def scoped_agent(original: _Function) -> _Function:
    """Return `Agent.stream_async`, which every way to run an agent comes to, in the agent's scope."""

    @functools.wraps(original)
    def stream_async(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        return _scoped(self.name, lambda: original(self, *args, **kwargs))

    return stream_async


def scoped_graph(original: _Function) -> _Function:
    """Return `Graph.stream_async`, in the graph's scope."""

    @functools.wraps(original)
    def stream_async(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if not isinstance(self.edges, _OrderedEdges):
            self.edges = _OrderedEdges(self.edges)
        return _scoped(self.id, lambda: original(self, *args, **kwargs))

    return stream_async


def scoped_node(original: _Function) -> _Function:
    """Return `Graph._execute_node`, in the node's scope."""

    @functools.wraps(original)
    def _execute_node(self: Any, node: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        return _scoped(node.node_id, lambda: original(self, node, *args, **kwargs))

    return _execute_node


def scoped_swarm(original: _Function) -> _Function:
    """Return `Swarm.stream_async`, in the swarm's scope. Its agents take turns, each in its own scope therein."""

    @functools.wraps(original)
    def stream_async(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        return _scoped(self.id, lambda: original(self, *args, **kwargs))

    return stream_async


def _scoped(name: str, start: Callable[[], Any]) -> AsyncIterator[Any]:
    session, around = calling_scope()
    return scoped_parts(session, session.enter(around, str(name)), start)


class _OrderedEdges(set[Any]):
    """Edges of a graph, read in the order of their nodes' names."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__(), key=_ends))


def _ends(edge: Any) -> tuple[str, str]:
    return edge.from_node.node_id, edge.to_node.node_id

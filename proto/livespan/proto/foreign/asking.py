"""Which model call asked for which tool call: many a tool's span has no call id, and some not even its arguments; the
answer of the model before it has both.

A tool that knows its call id is the call of that id. Of the others each takes, of the calls by its name that no other
tool took and that were asked for before it, one that is near: under the same agent rather than under another, with the
same arguments rather than with others, asked for late rather than early.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from livespan.proto.foreign.json_text import parsed
from livespan.proto.foreign.messages import ToolCall, tool_calls
from livespan.proto.node import NodeType

__all__ = ["Step", "calls_asked"]

_LOOKED_AT: Final = 32
"""So many calls of a name, the latest before a tool, are looked at, and so many ancestors of each."""


class Step(msgspec.Struct, frozen=True):
    """A node of a run, as far as its place depends on it.

    Attributes:
        started_ns: wall time; it orders spans of one trace, there is nothing else that does.
        ended_ns: wall time, 0 = not known.
        foreign: whether it is a foreign span; our own nodes are never moved or folded.
        holds: whether it must stay though it wraps one child or none (a state was taken at it).
        tokens: what went into the model and what came out, None = not known.
    """

    node_id: str
    parent_id: str
    type: str
    started_ns: int
    foreign: bool = True
    failed: bool = False
    holds: bool = False
    tool_name: str = ""
    tool_call_id: str = ""
    input: str = ""
    output: str = ""
    ended_ns: int = 0
    framework: str = ""
    model: str = ""
    tokens: tuple[int | None, int | None] = (None, None)


class _Asked(msgspec.Struct, frozen=True):
    """A call, by the PROMPT that asked for it, `nth` in its answer."""

    started_ns: int
    prompt: str
    nth: int
    call: ToolCall


_Calls: TypeAlias = dict[str, list[_Asked]]


def calls_asked(steps: Sequence[Step], parents: Mapping[str, str]) -> dict[str, ToolCall]:
    """Return, by the node id of foreign TOOLs, the call that a model asked for.

    Args:
        parents: the parent of each step, "" at the top; no step is its own ancestor.
    """
    tools = [step for step in steps if step.foreign and step.type == NodeType.TOOL]
    by_id, by_name = _calls(steps) if tools else ({}, {})
    taken: set[tuple[str, int]] = set()
    found: dict[str, ToolCall] = {}
    # Those that know their id come first, so that nobody takes their call by its name.
    for tool in sorted(tools, key=lambda step: (not step.tool_call_id, step.started_ns)):
        if tool.tool_call_id:
            candidates = _before(tool, by_id.get(tool.tool_call_id, []), set())
        else:
            candidates = _before(tool, by_name.get(tool.tool_name, []), taken)
        asked = _nearest(tool, candidates, parents)
        if asked is not None:
            taken.add((asked.prompt, asked.nth))
            found[tool.node_id] = asked.call
    return found


def _calls(steps: Sequence[Step]) -> tuple[_Calls, _Calls]:
    """Return the calls that models asked for, by id and by name, each in the order of time."""
    by_id: _Calls = {}
    by_name: _Calls = {}
    prompts = [step for step in steps if step.foreign and step.type == NodeType.PROMPT]
    for step in sorted(prompts, key=lambda step: step.started_ns):
        for nth, call in enumerate(tool_calls(step.output)):
            asked = _Asked(step.started_ns, step.node_id, nth, call)
            by_name.setdefault(call.name, []).append(asked)
            if call.call_id:
                by_id.setdefault(call.call_id, []).append(asked)
    return by_id, by_name


def _before(tool: Step, calls: Sequence[_Asked], taken: set[tuple[str, int]]) -> Iterator[_Asked]:
    """Yield what was asked before a tool started and is free, the latest first, the calls of one answer in order."""
    end = bisect_right(calls, tool.started_ns, key=lambda asked: asked.started_ns)
    seen = 0
    for asked in sorted(calls[max(end - 4 * _LOOKED_AT, 0) : end], key=lambda one: (-one.started_ns, one.nth)):
        if (asked.prompt, asked.nth) not in taken and seen < _LOOKED_AT:
            seen += 1
            yield asked


def _nearest(tool: Step, candidates: Iterator[_Asked], parents: Mapping[str, str]) -> _Asked | None:
    above = {node: height for height, node in enumerate(_ancestors(tool.node_id, parents))}
    given = parsed(tool.input)
    best: tuple[tuple[int, bool], _Asked] | None = None
    for asked in candidates:
        far = next((above[node] for node in _ancestors(asked.prompt, parents) if node in above), _LOOKED_AT)
        rank = (far, parsed(asked.call.arguments) != given)
        if best is None or rank < best[0]:
            best = (rank, asked)
    return None if best is None else best[1]


def _ancestors(node: str, parents: Mapping[str, str]) -> Iterator[str]:
    for _ in range(_LOOKED_AT):
        node = parents[node]
        if not node:
            return
        yield node

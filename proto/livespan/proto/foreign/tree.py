"""What only a whole run tells of its foreign spans: where each hangs, which are steps and which mere wrappers, and what
a model asked a tool for (asking.py).

    as they came                              planted
    root                                      root
    ├─ wrapper ── PROMPT ── http call         ├─ PROMPT
    ├─ wrapper ── TOOL                        ├─ TOOL      its call id and arguments from the PROMPT before it
    └─ wrapper ── wrapper ── PROMPT           ├─ PROMPT
    (parent unknown) PROMPT                   └─ PROMPT

- A BRANCH with one child stands for that child, one with none for nothing: both go. One that failed where its child
  did not, and one that holds a state, stays: there is something that only it tells.
- A span whose parent is not there hangs under the root: of ours where the run has one, else of the earliest without
  a parent.
- A PROMPT that another instrumentation saw as well stands there once (echoes.py); what hung under it hangs higher.
- If nothing would be left, the earliest span stays.

Nothing here recurses: traces may be nested as deep as a sender likes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

import msgspec

from livespan.proto.foreign.asking import Step, calls_asked
from livespan.proto.foreign.echoes import echoes
from livespan.proto.node import NodeType

__all__ = ["Step", "Told", "plant"]


class Told(msgspec.Struct, frozen=True):
    """Where a step stands in the tree, and, for a TOOL, what the model call that asked for it told of it."""

    parent_id: str
    tool_call_id: str = ""
    input: str = ""


def plant(steps: Sequence[Step]) -> dict[str, Told]:
    """Return the steps that stay, by node id, in the order of their starts; own nodes keep their order among
    themselves.
    """
    parents = _parents(steps)
    again = echoes(steps)
    kept = _kept(steps, parents, again)
    asked = calls_asked([step for step in steps if step.node_id not in again], parents)
    stood: dict[str, str] = {}
    found: dict[str, Told] = {}
    for step in _in_order(steps):
        if step.node_id not in kept:
            continue
        parent = _standing(parents[step.node_id], parents, kept, stood)
        call = asked.get(step.node_id)
        found[step.node_id] = Told(parent) if call is None else Told(parent, call.call_id, call.arguments)
    return found


def _standing(node: str, parents: Mapping[str, str], kept: set[str], known: dict[str, str]) -> str:
    """Return the nearest that stays, from a node upwards; `known` remembers the ways that were gone."""
    path: list[str] = []
    while node and node not in kept and node not in known:
        path.append(node)
        node = parents[node]
    node = known.get(node, node)
    known.update(dict.fromkeys(path, node))
    return node


def _in_order(steps: Sequence[Step]) -> Iterator[Step]:
    """Yield our own in their order, and each foreign step before the first of ours that started after it."""
    foreign = sorted((step for step in steps if step.foreign), key=lambda step: step.started_ns, reverse=True)
    for step in steps:
        if step.foreign:
            continue
        while foreign and foreign[-1].started_ns < step.started_ns:
            yield foreign.pop()
        yield step
    yield from reversed(foreign)


def _parents(steps: Sequence[Step]) -> dict[str, str]:
    """Return each step's parent, one that is there, so that nobody is his own ancestor."""
    own = next((step.node_id for step in steps if not step.foreign and not step.parent_id), "")
    tops = [step for step in steps if step.foreign and not step.parent_id]
    root = own or min(tops, key=lambda step: step.started_ns).node_id if own or tops else ""
    known = {step.node_id for step in steps}
    parents: dict[str, str] = {}
    for step in steps:
        lost = step.parent_id not in known
        if not step.foreign:
            parents[step.node_id] = "" if lost else step.parent_id
        elif lost and (step.parent_id or own):
            parents[step.node_id] = "" if root == step.node_id else root
        else:
            parents[step.node_id] = step.parent_id
    sound: set[str] = set()
    for step in steps:
        path: dict[str, None] = {}
        node = step.node_id
        while node and node not in sound and node not in path:
            path[node] = None
            node = parents[node]
        if node in path:  # a circle: it is cut where it was entered
            parents[node] = "" if root in path else root
        sound.update(path)
    return parents


def _kept(steps: Sequence[Step], parents: Mapping[str, str], again: Set[str]) -> set[str]:
    """Return the steps that stay, judged from the leaves up; those of `again` go."""
    by_id = {step.node_id: step for step in steps}
    waiting = dict.fromkeys(by_id, 0)
    for parent in parents.values():
        if parent:
            waiting[parent] += 1
    # What is left below each once its own wrappers are gone: how many, and whether one of them failed.
    below = dict.fromkeys(by_id, 0)
    failed = dict.fromkeys(by_id, False)
    ready = [node for node, count in waiting.items() if count == 0]
    kept: set[str] = set()
    while ready:
        node = ready.pop()
        step, count = by_id[node], below[node]
        wrapper = step.foreign and step.type == NodeType.BRANCH and not step.holds
        if wrapper and count == 1 and step.failed:
            wrapper = failed[node]
        if node not in again and not (wrapper and count <= 1):
            kept.add(node)
            count, failed[node] = 1, step.failed
        parent = parents[node]
        if parent:
            below[parent] += count
            failed[parent] |= failed[node]
            waiting[parent] -= 1
            if waiting[parent] == 0:
                ready.append(parent)
    if not kept and steps:
        kept.add(min(steps, key=lambda step: (bool(parents[step.node_id]), step.started_ns)).node_id)
    return kept

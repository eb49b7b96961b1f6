"""The foreign spans of a run put together: `runs show` has its steps where SQL has its spans.

The table holds a row per span, each with what the span says of itself. What takes the whole run (proto/foreign/tree.py)
is done here, on what was read, so that it is the same whether the rows were published or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from livespan.collector.query.shapes import ShownNode
from livespan.collector.query.shown import count_of, number_of, text_of
from livespan.proto.foreign import Step, Told, plant
from livespan.proto.node import NodeStatus
from livespan.proto.record import RecordKind

__all__ = ["planted", "step_of"]

_NOTHING: Final = (b"", b"null", b'""')


def planted(steps: Sequence[Step], nodes: Sequence[ShownNode]) -> list[ShownNode]:
    """Return the nodes that stay, each under its parent.

    Args:
        steps: of one run, by `step_of`.
        nodes: the same, shown, in the same order.
    """
    if not any(step.foreign for step in steps):
        return list(nodes)
    by_id = {node.node_id: node for node in nodes}
    return [_told(by_id[node_id], told) for node_id, told in plant(steps).items()]


def step_of(row: Mapping[str, object]) -> Step:
    """Return what planting needs of a row of the view `nodes`."""
    return Step(
        node_id=text_of(row, "node_id"),
        parent_id=text_of(row, "parent_id"),
        type=text_of(row, "type"),
        started_ns=count_of(row, "started_ns"),
        foreign=row["kind"] == RecordKind.FOREIGN,
        failed=row["status"] == NodeStatus.FAILED,
        holds=row["state_size_bytes"] is not None,
        tool_name=text_of(row, "tool_name"),
        tool_call_id=text_of(row, "tool_call_id"),
        input=text_of(row, "input"),
        output=text_of(row, "output"),
        ended_ns=count_of(row, "ended_ns"),
        framework=text_of(row, "framework"),
        model=text_of(row, "model"),
        tokens=(number_of(row, "input_tokens"), number_of(row, "output_tokens")),
    )


def _told(node: ShownNode, told: Told) -> ShownNode:
    """Return a node in its place, with what its own span did not say."""
    given = bytes(node.input)
    # Arguments are an object. What else a span has for them is a part of them, without its name.
    lacks = not node.input_digest and (given in _NOTHING or (given[:1] != b"{" and told.input[:1] == "{"))
    return msgspec.structs.replace(
        node,
        parent_id=told.parent_id,
        tool_call_id=node.tool_call_id or told.tool_call_id,
        input=msgspec.Raw(told.input.encode()) if lacks and told.input else node.input,
    )

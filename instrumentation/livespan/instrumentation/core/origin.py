"""Which call an error came from. The run's last record says it, so that the next life asks that
call again.

The error object itself carries the node: it outlives no longer than needed, and a copy kept here
    would hold every frame that
its traceback names.
"""

from __future__ import annotations

from typing import Final, cast

from livespan.proto.ids import NodeId

__all__ = ["mark", "origins"]

_MARK: Final = "__livespan_node__"


def mark(error: BaseException, node_id: NodeId) -> None:
    """Note that `error` is the outcome of a try, made now or answered from the record."""
    # Not setattr: an exception that is a frozen dataclass refuses it.
    error.__dict__[_MARK] = node_id


def origins(error: BaseException) -> tuple[NodeId, ...]:
    """Return the tries that `error` came from, () where the program raised it by itself.

    An error that is no call's own is followed to its cause, else to the error that was being
    handled when it was raised (`from None` hides that one from tracebacks alone), and a group to
    all its members.
    """
    found: dict[NodeId, None] = {}
    seen: set[int] = set()
    pending = [error]
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        node = one.__dict__.get(_MARK)
        if node is not None:
            found[node] = None
        elif isinstance(one, BaseExceptionGroup):
            pending.extend(reversed(cast("BaseExceptionGroup[BaseException]", one).exceptions))
        else:
            before = one.__cause__ or one.__context__
            if before is not None:
                pending.append(before)
    return tuple(found)

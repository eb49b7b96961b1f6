"""The fault points: every named step between a record's spooling and its place in the lake, at which a process may be
killed.
"""

from __future__ import annotations

from typing import Final

__all__ = ["NEW_SEGMENTS", "POINTS", "RARE", "roles_of"]

POINTS: Final = {
    "log": ("log.before_write", "log.after_write", "log.after_sync", "log.segment_created", "log.recycle"),
    "hot tier": ("hot.before_index", "hot.indexed", "hot.before_publish", "hot.published"),
    "publisher": (
        "publish.before_content",
        "publish.content_written",
        "publish.content_committed",
        "publish.nodes_written",
        "publish.nodes_committed",
        "publish.views_written",
    ),
    "lease store": (
        "lease.granted",
        "lease.recorded",
        "lease.before_release",
        "lease.released",
        "lease.snapshot",
    ),
    "drain": (
        "drain.before_send",
        "drain.sent",
        "drain.acknowledged",
        "drain.advanced",
        "drain.before_delete",
        "drain.deleted",
    ),
}
"""By component."""
RARE: Final = frozenset({"log.segment_created", "log.recycle", "lease.snapshot"})
"""Passed when a log segment is full or freed: several programs at once must run before one comes."""
NEW_SEGMENTS: Final = frozenset({"log.segment_created"})
"""Passed where no segment is free to be used again."""


def roles_of(point: str) -> frozenset[str]:
    """Return who must die for a kill at a point: the process that stands there."""
    return frozenset({"drain" if point.startswith("drain.") else "collector"})

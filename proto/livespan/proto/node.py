"""The ExecutionNode: one step of an agent, as people, pages and SQL see it.

Records (record.py) are how it is written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["ErrorInfo", "ExecutionNode", "NodeStatus", "NodeType", "RunStatus", "TokenUsage"]


class NodeType(StrEnum):
    """What a step is."""

    PROMPT = "PROMPT"
    TOOL = "TOOL"
    MEMORY = "MEMORY"
    BRANCH = "BRANCH"


class NodeStatus(StrEnum):
    """Where a step stands. In doubt and conflict are derived, never stored."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    IN_DOUBT = "in_doubt"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An exception as an outcome: dotted type name, message, traceback text."""

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one model call; None is unknown, which is not 0."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True)
class ExecutionNode:
    """One try of one step, folded from its records.

    Times are UTC nanoseconds since 1970 (0 = not yet); `input`, `output` and `metadata` are JSON text ("" = none, or
    held in the content table when larger than 16 KB); ids are lower-case hex, and a link to another trace is
    `trace id/span id`; `latency_ms` is None until the node ended.
    """

    project: str
    run_id: str
    node_id: str
    parent_id: str = ""
    links: tuple[str, ...] = ()
    type: NodeType = NodeType.BRANCH
    name: str = ""
    status: NodeStatus = NodeStatus.PENDING
    started_at: int = 0
    ended_at: int = 0
    latency_ms: float | None = None
    input: str = ""
    output: str = ""
    error: ErrorInfo | None = None
    tokens: TokenUsage = field(default_factory=TokenUsage)
    model: str = ""
    provider: str = ""
    tool_name: str = ""
    tool_call_id: str = ""
    effect: bool = False
    idempotency_key: str = ""
    call_key: str = ""
    scope: str = ""
    occurrence: int = 0
    attempt: int = 0
    try_number: int = 0
    epoch: int = 0
    framework: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: str = ""
    state_bytes: bytes | None = None
    state_digest: str = ""
    writer: str = ""
    writer_seq: int = 0
    log_seq: int = 0

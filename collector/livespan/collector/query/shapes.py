"""The JSON that the Query service answers with: a documented contract. Fields are only added; readers ignore new ones.

runs list   [RunSummary, ...], newest first
runs show   ShownRun
runs tail   TailedRecord a line, and TailGap where some were dropped
times       ISO 8601, UTC, null = not yet       ids, digests   lower-case hex, "" = none       counts   never null
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = [
    "Reuse",
    "RunDetail",
    "RunSummary",
    "ShownEnding",
    "ShownError",
    "ShownNode",
    "ShownRun",
    "ShownTokens",
    "TailGap",
    "TailedRecord",
]

Reuse: TypeAlias = str
"""RECORDED: answered from the record; RE-EXECUTED: run again by the newest attempt; IN DOUBT: an effect whose outcome
is not known; "" where there was one attempt, or nothing to tell."""


class RunSummary(msgspec.Struct, frozen=True):
    """One run: the newest generation of its id.

    Attributes:
        nodes: tries of calls and scopes; an attempt's own node is not counted.
        effects: calls with a side effect, however often each was tried.
        in_doubt: effects whose outcome is not known.
    """

    run_id: str
    project: str
    session: str
    tags: dict[str, str]
    status: str
    nodes: int
    effects: int
    in_doubt: int
    input_tokens: int
    output_tokens: int
    started_at: str | None
    ended_at: str | None


class ShownEnding(msgspec.Struct, frozen=True):
    """Why the newest life of a run is over that is not done.

    Attributes:
        how: stopped (by InDoubt, Divergence and the like), failed, died, left or cancelled; see ending.py.
        name: of the stop or the error; "" where there is none.
        message: what happened; of a cancelled run who said so.
        subject, hint: of a stop: to what, and what to do about it.
        idle_attempts: how many of the newest lives have recorded nothing new; 0 of a stop and of a cancelled run.
    """

    how: str
    at: str | None = None
    name: str = ""
    message: str = ""
    subject: str = ""
    hint: str = ""
    idle_attempts: int = 0


class RunDetail(RunSummary, frozen=True):
    """One run by itself.

    Attributes:
        attempts: how many lives it has had, those that recorded no call included.
        user: on whose behalf its newest life was started, where the program said so; "" = it did not.
        ending: why its newest life is over; null while it runs, when it is done, and of foreign spans.
    """

    attempts: int
    user: str = ""
    ending: ShownEnding | None = None


class ShownError(msgspec.Struct, frozen=True):
    """How a node failed; see node.ErrorInfo."""

    type: str
    message: str
    traceback: str


class ShownTokens(msgspec.Struct, frozen=True):
    """Tokens of a model call; null is unknown, which is not 0."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


class ShownNode(msgspec.Struct, frozen=True):
    """One node: the fields of node.ExecutionNode by name, and what is derived of it. No content bytes.

    Attributes:
        input, output, metadata: as JSON; null where there is none, or it is over 16 KB and `content` has it by digest.
        state_digest: of the newest checkpoint that was taken at this node.
        in_doubt: it is an effect whose outcome is not known, and no living process may still settle it.
        conflict: it was settled by hand, and its recorded end says otherwise.
        settled: how it was settled, `done` or `not_done`; "" where nobody had to.
        settled_by: who said so, in their own words.
    """

    project: str
    run_id: str
    node_id: str
    parent_id: str
    links: list[str]
    type: str
    name: str
    status: str
    started_at: str | None
    ended_at: str | None
    latency_ms: float | None
    input: msgspec.Raw
    output: msgspec.Raw
    error: ShownError | None
    tokens: ShownTokens
    model: str
    provider: str
    tool_name: str
    tool_call_id: str
    effect: bool
    idempotency_key: str
    call_key: str
    scope: str
    occurrence: int
    attempt: int
    try_number: int
    epoch: int
    framework: str
    tags: dict[str, str]
    metadata: msgspec.Raw
    state_digest: str
    writer: str
    writer_seq: int
    log_seq: int
    input_digest: str = ""
    output_digest: str = ""
    in_doubt: bool = False
    conflict: bool = False
    reuse: Reuse = ""
    settled: str = ""
    settled_by: str = ""


class ShownRun(msgspec.Struct, frozen=True):
    """A run and its nodes, in the order in which they were started."""

    run: RunDetail
    nodes: list[ShownNode]


class TailedRecord(msgspec.Struct, frozen=True):
    """One record as it was indexed; no content.

    Attributes:
        at: when it happened, by the writer's clock; it orders nothing.
        kind: a RecordKind.
        status: RUNNING, SUCCESS, FAILED of a node; what became of a lease or of doubt; else "".
    """

    at: str | None
    project: str
    run_id: str
    kind: str
    node_id: str
    type: str
    name: str
    status: str
    scope: str
    attempt: int
    log_seq: int
    error_type: str
    error_message: str


class TailGap(msgspec.Struct, frozen=True):
    """How many records were not shown here, because who follows was too slow for them."""

    dropped: int

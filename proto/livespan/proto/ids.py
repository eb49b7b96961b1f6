"""Identity: how runs, calls, nodes and effects get ids that a later life computes again.

    trace_id        = blake2b-128(project, run id, generation)       16 bytes: all lives of a run are one trace
    call key        = blake2b-128(scope, kind, name, digest, call id, occurrence)   32 hex digits
    node_id         = blake2b-64(trace_id, call key, try)             8 bytes: its span id
    idempotency key = "ls-" + blake2b-128(trace_id, call key)         the same over all tries: that is what it is for

No id is random, so a record that arrives twice is the same record and a resumed run is one DAG.
"""

from __future__ import annotations

from hashlib import blake2b, sha256
from typing import Final, NewType

import xxhash

__all__ = [
    "ROOT_SCOPE",
    "THREAD_PREFIX",
    "CallKey",
    "NodeId",
    "RunId",
    "TraceId",
    "attempt_node_id",
    "call_key",
    "content_digest",
    "idempotency_key",
    "input_digest",
    "node_id",
    "scope_node_id",
    "thread_run_id",
    "trace_id",
]

RunId = NewType("RunId", str)
TraceId = NewType("TraceId", bytes)
"""16 bytes."""
NodeId = NewType("NodeId", bytes)
"""8 bytes, a span id; hex in tables and pages."""
CallKey = NewType("CallKey", str)
"""32 hex digits."""

ROOT_SCOPE: Final = "/"
THREAD_PREFIX: Final = "thread:"
_SEPARATOR: Final = "\x1f"


def trace_id(project: str, run_id: str, generation: int = 0) -> TraceId:
    """Return the trace id (16 bytes) of all lives of a run."""
    text = _SEPARATOR.join((project, run_id, str(generation)))
    return TraceId(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest())


def call_key(scope: str, kind: str, name: str, digest: str, call_id: str, occurrence: int) -> CallKey:
    """Return what names a call within its run, whatever the order in which calls are made."""
    text = f"{scope}\x1f{kind}\x1f{name}\x1f{digest}\x1f{call_id}\x1f{occurrence}"
    return CallKey(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest())


def node_id(trace: TraceId, key: CallKey, try_number: int) -> NodeId:
    """Return the id (8 bytes) of one try of a call."""
    return NodeId(blake2b(trace + key.encode() + b"%d" % try_number, digest_size=8).digest())


def scope_node_id(trace: TraceId, scope: str) -> NodeId:
    """Return the id (8 bytes) of a scope's BRANCH node: one over all lives, its try is always 0."""
    return NodeId(blake2b(trace + b"scope" + scope.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def attempt_node_id(trace: TraceId, attempt: int) -> NodeId:
    """Return the id (8 bytes) of the BRANCH node `attempt N`."""
    return NodeId(blake2b(trace + b"attempt%d" % attempt, digest_size=8).digest())


def thread_run_id(thread_id: str) -> RunId:
    """Return the run id under which a thread's records stand, so that whoever reads it reads no other."""
    return RunId(THREAD_PREFIX + thread_id)


def idempotency_key(trace: TraceId, key: CallKey) -> str:
    """Return the key that an effect's provider gets: the same for every try of one call."""
    return "ls-" + blake2b(trace + b"effect" + key.encode(), digest_size=16).hexdigest()


def input_digest(data: bytes) -> str:
    """Return the digest of a call's canonical input (32 hex digits, XXH3-128).

    It runs on the agent's thread and guards against a changed program, not against an adversary: XXH3 costs 3 us for
    50 KB and does not release the GIL, where a cryptographic hash costs ten times that.
    """
    return xxhash.xxh3_128_hexdigest(data)


def content_digest(data: bytes | memoryview) -> str:
    """Return the digest of stored content (64 hex digits, SHA-256), so that anyone can check it: `sha256(bytes)` in
    DuckDB.
    """
    return sha256(data).hexdigest()

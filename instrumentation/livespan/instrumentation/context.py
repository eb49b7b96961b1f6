"""What code inside a run may ask or say about where it is: checkpoint, idempotency key, annotations."""

from __future__ import annotations

from livespan.instrumentation.branches import current
from livespan.instrumentation.run_block import active
from livespan.instrumentation.session import SESSIONS
from livespan.proto import attributes as names
from livespan.proto.clock import random_id
from livespan.proto.codec import encode
from livespan.proto.errors import Closed, InvalidInput
from livespan.proto.span import Scalar

__all__ = ["annotate", "checkpoint", "idempotency_key"]


def checkpoint(state: bytes | bytearray | memoryview) -> str:
    """Keep a state at the current node and return the checkpoint's id. When it returns, the state survives the process.

    Args:
        state: bytes of the program's own making; `run.state` and `run.restore()` hand them back.

    Raises:
        SpoolFull: no room within the budget; the state was not kept, and the program decides what that means.
    """
    data = _as_bytes(state)
    session, scope = active()
    checkpoint_id = random_id()
    session.checkpoint(scope, checkpoint_id, data)
    return checkpoint_id


def idempotency_key() -> str:
    """Return the key to hand to a provider within a tool: the same in every try of this call.

    "" outside of any call.
    """
    scope = current()
    if scope is None:
        return ""
    session = SESSIONS.get(scope.trace)
    if session is None:
        # "" would let the effect of a task that outlived its run happen under no key, and again under its own.
        raise Closed(
            "the run of this task or thread has ended", hint="Wait for tasks and threads before the run's block ends."
        )
    return session.idempotency_key(scope)


def annotate(
    *,
    model: str = "",
    provider: str = "",
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cache_read_tokens: int | None = None,
    cache_write_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    metadata: object = None,
) -> None:
    """Say more about the call that is running: its model, its tokens, anything that JSON holds.

    Outside of a call it does nothing.
    """
    scope = current()
    session = SESSIONS.get(scope.trace) if scope is not None else None
    if session is None or scope is None:
        return
    told: dict[str, str | int | None] = {
        names.MODEL: model or None,
        names.PROVIDER: provider or None,
        names.INPUT_TOKENS: input_tokens,
        names.OUTPUT_TOKENS: output_tokens,
        names.CACHE_READ_TOKENS: cache_read_tokens,
        names.CACHE_WRITE_TOKENS: cache_write_tokens,
        names.REASONING_TOKENS: reasoning_tokens,
        names.METADATA: encode(metadata).decode() if metadata is not None else None,
    }
    notes: dict[str, Scalar] = {name: value for name, value in told.items() if value is not None}
    session.annotate(scope, notes)


def _as_bytes(state: object) -> bytes:
    if isinstance(state, bytes):
        return state
    if isinstance(state, (bytearray, memoryview)):
        return bytes(state)  # pyright: ignore[reportUnknownArgumentType]  # a memoryview of whatever it views
    raise InvalidInput(
        f"a state is bytes, not {type(state).__name__}",
        subject="checkpoint",
        hint="json.dumps(state).encode() makes it so.",
    )

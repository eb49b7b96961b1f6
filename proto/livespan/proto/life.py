"""What every record of a life carries, as its OTLP Resource: which run, which of its lives, on whose behalf.

The agent writes it with its own records, recovery with what it says of leases, settlements and cancelling.
"""

from __future__ import annotations

from collections.abc import Mapping

from livespan.proto import attributes as names
from livespan.proto.span import Scalar, resource_bytes

__all__ = ["life_resource"]


def life_resource(
    *,
    project: str,
    run_id: str,
    generation: int,
    attempt: int,
    epoch: int,
    session: str = "",
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """Return the serialised Resource of one life of a run.

    Args:
        attempt, epoch: number of the life and of its lease, 0 where there is none.
        session: the conversation, "" for none.
    """
    attributes: dict[str, Scalar] = {
        names.SERVICE_NAME: project,
        names.PROJECT: project,
        names.RUN_ID: run_id,
        names.GENERATION: generation,
        names.ATTEMPT: attempt,
        names.EPOCH: epoch,
    }
    if session:
        attributes[names.SESSION] = session
    for key, value in (tags or {}).items():
        attributes[names.TAG_PREFIX + key] = value
    return resource_bytes(attributes)

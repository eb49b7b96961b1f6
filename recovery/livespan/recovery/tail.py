"""Whether the end of a run's last life may be missing in what is recorded here."""

from __future__ import annotations

from livespan.collector.run_history import RunHistory
from livespan.recovery.lease_record import lease_from_record
from livespan.recovery.leases import LeaseEvent

__all__ = ["tail_unknown"]


def tail_unknown(run: RunHistory | None, spool_id: str) -> bool:
    """Return whether the last life ended without a word and the asker cannot have sent what that life's spool still
    held.
    """
    if run is None or run.last_lease is None:
        return False
    told = lease_from_record(run.last_lease)
    return told is not None and told[0] is not LeaseEvent.RELEASED and told[1].spool_id != spool_id

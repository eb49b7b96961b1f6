"""Who holds a run, as `Recovery` speaks of it on the wire: a process, and the spool that holds its tail."""

from __future__ import annotations

from livespan.proto.process import ProcessId
from livespan.proto.v1.livespan_pb2 import Holder

__all__ = ["holder_message", "holder_process"]


def holder_message(process: ProcessId, spool_id: str, lock: str = "") -> Holder:
    """Return the message that names a holder, the spool that has its tail, and the folder of its lock ("" = none)."""
    return Holder(
        pid=process.pid,
        start_time_ticks=process.start_time_ticks,
        boot_id=process.boot_id,
        pid_namespace=process.pid_namespace,
        host=process.host,
        spool_id=spool_id,
        lock=lock,
    )


def holder_process(message: Holder) -> ProcessId:
    """Return the process that a message names."""
    return ProcessId(message.pid, message.start_time_ticks, message.boot_id, message.pid_namespace, message.host)

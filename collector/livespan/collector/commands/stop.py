"""`livespan stop`: end the home's collector, with everything published."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Final

import click

from livespan.collector.options import OutputForm, Where, output_option, where_options
from livespan.collector.render import note, print_result
from livespan.proto.errors import Conflict, Unavailable
from livespan.proto.home import Home
from livespan.proto.process import ProcessId
from livespan.proto.rendezvous import is_served, read_address

__all__ = ["end_collector", "stop"]

_LOOK_S: Final = 0.05


@click.command(short_help="Stop the home's collector.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Wait this many seconds.",
)
@output_option
@where_options
def stop(where: Where, output: OutputForm, timeout_s: float) -> None:
    """Stop the home's collector; it publishes what it holds, then leaves.

    Nothing is lost: agents go on recording into their spool, and the next run starts a collector again. It is
    no error if none runs, or if there is no home yet. JSON is {"stopped": true|false, "pid": N|null}.
    """
    home = where.own_home("only a home's own collector can be stopped from here")
    pid = end_collector(home, timeout_s) if home.root.is_dir() else None
    if output is OutputForm.TEXT or not home.root.is_dir():
        note(_told(home, pid))  # a mistyped path is seen, whatever the form
    print_result({"stopped": pid is not None, "pid": pid}, output)


def _told(home: Home, pid: int | None) -> str:
    if pid is not None:
        return f"Stopped the collector of {home.root} (pid {pid})."
    if not home.root.is_dir():
        return f"Nothing to stop: there is no home at {home.root}."
    return f"Nothing to stop: no collector runs for {home.root}."


def end_collector(home: Home, timeout_s: float) -> int | None:
    """Ask the home's collector to leave and wait until it has; return its pid, None where none ran.

    Raises:
        Conflict: it runs where it cannot be signalled from, another container or host.
        Unavailable: it has not left in time; it was asked to.
    """
    deadline = time.monotonic() + timeout_s
    address = read_address(home)
    if address is None or not is_served(home):
        # No address, yet the lock is held: it is coming up, or is on its way out and publishing.
        _await_lock(home, deadline)
        return None
    process = address.process
    if not process.is_local():
        raise Conflict(
            f"its collector runs elsewhere ({process})",
            subject=str(home.root),
            hint="Run `livespan stop` in that container or host.",
        )
    return process.pid if _end(process, home, deadline) else None


def _end(process: ProcessId, home: Home, deadline: float) -> bool:
    """Send SIGTERM to this process and no other, and wait for its end; return False where it was gone already."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The descriptor holds whoever has the pid now; only if that is still the collector may it be signalled.
        if not process.is_alive():
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise _still_there(home, f"the collector (pid {process.pid}) was asked to stop and is still publishing")
    finally:
        os.close(descriptor)
    return True


def _await_lock(home: Home, deadline: float) -> None:
    while is_served(home):
        if time.monotonic() >= deadline:
            raise _still_there(home, "a collector is starting or leaving and has not said where it listens")
        time.sleep(_LOOK_S)


def _still_there(home: Home, message: str) -> Unavailable:
    return Unavailable(
        message, subject=str(home.root), hint=f"Wait and try again; its output is in {home.collector_output}."
    )

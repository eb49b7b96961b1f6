"""Recovery's checks of `livespan doctor`: what leases rest on."""

from __future__ import annotations

import os
from collections.abc import Iterator

from livespan.proto.finding import Finding
from livespan.proto.home import Home
from livespan.proto.process import this_process
from livespan.proto.rendezvous import read_address

__all__ = ["check"]


def check(home: Home) -> Iterator[Finding]:
    """Look at what tells a dead holder from a living one on this machine."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        yield Finding(
            "dead holders", None, "this kernel has no pidfd: a dead holder is found within half a second, not at once"
        )
    else:
        yield Finding("dead holders", True, "found at once, by pidfd")
    address = read_address(home)
    if address is not None and address.boot_id == this_process().boot_id and not address.process.is_local():
        yield Finding(
            "pid namespaces",
            None,
            "the collector runs in another pid namespace: a dead holder is found by its lock in the spool, "
            "within half a second",
        )

"""What a service gets: `register(server, context)` of the entry-point group `livespan.services` is called once,
before the log is replayed and before anything is served.

Higher layers hang themselves in here; the collector never imports them. Recovery's leases are the one thing that the
collector must ask back (`Admission`): whether a run is held, and what of it must outlive the log. Whether an effect may
start comes with its append, as `admit`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from livespan.collector.history import History
from livespan.collector.log.protocol import Appended, Faults
from livespan.collector.metrics.registry import Metrics
from livespan.collector.query.runs import Listing
from livespan.collector.settings import CollectorSettings
from livespan.collector.threads import Threads
from livespan.proto.clock import Clock
from livespan.proto.home import Home
from livespan.proto.record import Record

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

__all__ = ["Admission", "Append", "AppendHere", "Context", "OpenAdmission", "Protections"]


class Append(Protocol):
    """Appends a request to the log: returns when it is acknowledged (survives the machine) and visible to nobody yet.

    `admit` is called in the committer just before the append; what it raises refuses this request alone.

    Raises:
        InvalidInput: the payload is no ExportTraceServiceRequest.
        Unavailable: no room, or the disk failed; nothing of it was acknowledged.
    """

    def __call__(self, payload: bytes, admit: Callable[[], None] | None = None) -> Awaitable[Appended]: ...


class AppendHere(Protocol):
    """Appends a request on the calling thread, which is not the loop's: no change of threads stands before the disk.

    `answer` is told the outcome, perhaps on another thread that was at the log already, and must neither wait nor
    raise. Raises as `Append` does where it comes to no outcome.
    """

    def __call__(
        self, payload: bytes, admit: Callable[[], None] | None, answer: Callable[[Appended | BaseException], None]
    ) -> None: ...


class Admission(Protocol):
    """What the collector must know of who holds runs: implemented by recovery."""

    def held(self, trace_id: bytes) -> bool:
        """Return whether some process may start things in this run now."""
        ...

    def replay(self, record: Record) -> None:
        """Learn from a `lease` or `attempt` record of the log, oldest first, at start."""
        ...

    def snapshot(self, below_seq: int) -> Sequence[tuple[bytes, Callable[[], None]]]:
        """Return requests that say again what must outlive the records below `below_seq`, which the log lets go.

        Each comes with its admission: what is over when the committer comes to it is not said again.
        """
        ...


class OpenAdmission:
    """The admission of a collector without recovery: nobody holds anything."""

    def held(self, trace_id: bytes) -> bool:
        del trace_id
        return False

    def replay(self, record: Record) -> None:
        del record

    def snapshot(self, below_seq: int) -> Sequence[tuple[bytes, Callable[[], None]]]:
        del below_seq
        return ()


@dataclass(frozen=True, slots=True)
class Protections:
    """The protections of the acknowledged path. Each is always on; `make mutants` takes one away to see a test fail."""

    fencing: bool = True


@dataclass(slots=True)
class Context:
    """What services share.

    Attributes:
        faults: told of each step of a service; a seam for tests.
        target: gRPC target of the unix socket that the collector serves.
        append, append_here: the ways into the log, from the loop and from a thread.
        history: what is known of a run, from hot tier and lake together.
        threads: what is known of LangGraph's threads, likewise.
        list_runs: the runs of a project ("" = all) as `runs list` shows them; called in a thread.
        indexed: waits until the hot tier has everything that was acknowledged when it is called.
        admission: set by recovery.
        activity: called by a service when it serves a request, so that an idle collector can tell that it is idle.
        busy: each returns whether the collector must not leave as idle.
        status: what `Query.Status` says beside the collector's own; by name.
        starting: awaited, in order, when the log has been read and before anything is served.
        closing: called, in reverse order, when the collector ends.
        metrics: asked at each scrape; a service adds its sources.
        routes: of the HTTP port, where one is served (`serves_http`); a service adds its own in `register`. All but
            the probes ask for the token.
        serves_http: whether there will be an HTTP port; where there is none, nothing of Starlette need be imported.
    """

    home: Home
    settings: CollectorSettings
    clock: Clock
    protections: Protections
    faults: Faults
    target: str
    append: Append
    append_here: AppendHere
    history: History
    threads: Threads
    list_runs: Callable[[str], Listing]
    indexed: Callable[[], Awaitable[None]]
    activity: Callable[[], None]
    admission: Admission = field(default_factory=OpenAdmission)
    busy: list[Callable[[], bool]] = field(default_factory=list[Callable[[], bool]])
    status: dict[str, Callable[[], object]] = field(default_factory=dict[str, Callable[[], object]])
    starting: list[Callable[[], Awaitable[None]]] = field(default_factory=list[Callable[[], Awaitable[None]]])
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list[Callable[[], Awaitable[None]]])
    metrics: Metrics = field(default_factory=Metrics)
    serves_http: bool = False
    routes: list[BaseRoute] = field(default_factory=cast("Callable[[], list[BaseRoute]]", list))

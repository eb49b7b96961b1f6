"""Opening a run and closing it: adoption, lease, record, session; and at the end the last records and the lease back.

home, collector, spool ─▶ adopt dead writers ─▶ Hold (epoch) ─▶ Open (what is recorded) ─▶ Core ─▶ Session
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from livespan.instrumentation import branches
from livespan.instrumentation.adoption import adopt
from livespan.instrumentation.barrier import Barrier
from livespan.instrumentation.caller import caller_attributes
from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.connection import Connection, connection
from livespan.instrumentation.core import Core, origins
from livespan.instrumentation.holding import Holding
from livespan.instrumentation.journal import Journal
from livespan.instrumentation.masking import Field, Masking
from livespan.instrumentation.permission import Permission
from livespan.instrumentation.recorded import read_history, remarks, unfinished_scopes
from livespan.instrumentation.session import SESSIONS, Session
from livespan.instrumentation.settings import AgentSettings
from livespan.instrumentation.started import STARTED
from livespan.proto import attributes as names
from livespan.proto.clock import random_hex
from livespan.proto.errors import CollectorMissing, LivespanError, Stop, Unavailable
from livespan.proto.holder import holder_message
from livespan.proto.ids import NodeId, TraceId, trace_id
from livespan.proto.life import life_resource
from livespan.proto.process import this_process
from livespan.proto.span import Scalar, export_request
from livespan.proto.v1 import livespan_pb2 as pb

if TYPE_CHECKING:
    from livespan.instrumentation.mirror import Mirror

__all__ = ["OpenRun", "open_run"]

_CLOSE_S: Final = 3.0
_PAUSE_S: Final = 0.1
_MIRROR_S: Final = 0.05
"""How long a run's end waits for its mirror, so that a provider that is shut down next has had all of it."""


class OpenRun:
    """A run that this process holds, from `open_run` to `close`.

    Attributes:
        session: through which its calls go.
        attempt: which of the run's lives this is, from 1.
        finished: the run had ended well before this life.
        ended_ns: when its last life that ended did so, wall time; 0 = none has.
        checkpoints: the newest valid checkpoint of each scope, by path.
        remarks: what a person should know: checkpoints passed over, a spool that was not seen.
    """

    def __init__(
        self,
        ties: Connection,
        holding: Holding,
        session: Session,
        run: pb.RunRef,
        grant: pb.HoldReply,
        replies: list[pb.OpenReply],
        mirror: Mirror | None = None,
    ) -> None:
        self.session = session
        self.run = run
        self.epoch = grant.epoch
        self.attempt = grant.attempt
        self.finished = grant.finished
        self.ended_ns = max((reply.ended_ns for reply in replies), default=0)
        self.checkpoints: Mapping[str, pb.Checkpoint] = {
            checkpoint.scope: checkpoint for reply in replies for checkpoint in reply.checkpoints
        }
        self.remarks = remarks(replies, grant)
        self._ties = ties
        self._holding = holding
        self._mirror = mirror
        self._pid = os.getpid()

    def close(self, error: BaseException | None) -> None:
        """End this life: check that nothing is left to claim, record the run's end, give the lease back.

        Raises:
            Stop: the run was stopped, or ends with something left to claim.
        """
        if os.getpid() != self._pid:
            return  # a forked child that falls out of its parent's block: the run is the parent's to end
        core = self.session.core
        try:
            core.finish(error)
            if self.finished and error is None and not self.session.executed:
                return  # nothing was done that its end does not tell of: it ended when it did
            if error is None or isinstance(error, Exception):
                nodes = origins(error) if error is not None else ()
                self.session.journal.scope_ended(core.root, error, nodes, {names.REUSED: self.session.reused})
        finally:
            self._hand_over()
            if self._mirror is not None:
                self._mirror.end()
                self._mirror.flush(_MIRROR_S)
            SESSIONS.pop(core.trace, None)

    def _hand_over(self) -> None:
        """Send what is not acknowledged yet together with the lease; if the collector is away the drain does the
        rest.
        """
        try:
            self._end_life(self._ties.client())
        except (LivespanError, Stop):
            self._ties.kick_drain()
            self._ties.unfinished[self.run.project, self.run.run_id] = self._end_life
        finally:
            self._holding.end()

    def _end_life(self, client: CollectorClient) -> None:
        tail = self.session.permission.tail(time.monotonic() + _CLOSE_S)
        client.close_run(self.run, self.epoch, export_request(tail), _CLOSE_S, self.session.core.stopped)


@dataclass(frozen=True, slots=True)
class _About:
    """What the caller says of a run."""

    session: str
    tags: Mapping[str, str]
    user: str


class _Lost:
    """Passes on that the lease is lost, at once, or when somebody begins to listen."""

    def __init__(self) -> None:
        self._stop: Stop | None = None
        self._tell: Callable[[Stop], object] | None = None

    def __call__(self, stop: Stop) -> None:
        self._stop = stop
        if self._tell is not None:
            self._tell(stop)

    def listen(self, tell: Callable[[Stop], object]) -> None:
        """Call `tell`, which may be told twice."""
        self._tell = tell
        if self._stop is not None:
            tell(self._stop)


def open_run(
    settings: AgentSettings,
    run_id: str,
    *,
    session: str = "",
    tags: Mapping[str, str] | None = None,
    user: str = "",
    if_finished: str = "return",
) -> OpenRun:
    """Open a run, or resume it where its record ends.

    Raises:
        RunHeld: another process runs it. RunFinished: see `if_finished`. RunCancelled: it was cancelled.
        Unavailable: collector or home cannot be used.
    """
    branches.install()
    ties = connection(settings)
    ties.kick_drain()
    about = _About(session, tags or {}, user)
    run = pb.RunRef(project=settings.project, run_id=run_id)
    request = pb.HoldRequest(
        run=run,
        holder=holder_message(this_process(), ties.spool_id, ties.spool.lock_folder),
        attempt=_attempt(about, Masking(settings.mask)),
        if_finished=if_finished,
        token=random_hex(8),
    )
    lost = _Lost()
    holding, grant = _hold(ties, request, lost, settings.unreachable_s)
    run.generation = grant.generation
    try:
        opened = _resumed(settings, ties, holding, run, grant, about)
        lost.listen(opened.session.core.stop)
        opened.session.journal.announce(opened.session.core.root)
    except BaseException:
        holding.end()
        raise
    SESSIONS[opened.session.core.trace] = opened.session
    return opened


def _resumed(
    settings: AgentSettings, ties: Connection, holding: Holding, run: pb.RunRef, grant: pb.HoldReply, about: _About
) -> OpenRun:
    """Read the record of a run that is held, and stand where it ends."""
    history, replies = read_history(ties.client().open(run, grant.epoch))
    trace = trace_id(run.project, run.run_id, run.generation)
    core = Core(trace, history, run_id=run.run_id, finished=grant.finished)
    resource = life_resource(
        project=run.project,
        run_id=run.run_id,
        generation=run.generation,
        attempt=grant.attempt,
        epoch=grant.epoch,
        session=about.session,
        tags=about.tags,
    )
    mirror = _mirror(settings, run, grant, about.session)
    journal = Journal(
        ties.spool,
        core.trace,
        resource,
        unfinished_scopes(replies),
        caller_attributes(),
        settings.mask,
        mirror.take if mirror is not None else None,
    )
    session = Session(
        core,
        journal,
        _permission(settings, ties, holding, run, core.trace, grant.epoch),
        _fetcher(ties, run, settings.unreachable_s),
        lambda: holding.is_valid,
    )
    return OpenRun(ties, holding, session, run, grant, replies, mirror)


def _hold(
    ties: Connection, request: pb.HoldRequest, lost: Callable[[Stop], object], patience_s: float
) -> tuple[Holding, pb.HoldReply]:
    """Send what dead writers left and take the lease; a collector on its way out, or up, is waited for."""
    deadline = time.monotonic() + patience_s
    while True:
        client = _collector(ties, deadline)  # asked anew: since the last run it may have left, as an idle one does
        holding = Holding(client, request, lost, lambda: ties.client(True), ties.kick_drain)
        try:
            adopt(ties.home.spool, client)
            _end_last_life(ties, request.run, client)
            return holding, holding.acquire()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)


def _collector(ties: Connection, deadline_s: float) -> CollectorClient:
    """Return the collector's client; where none can be started here, but one has served this home, it is waited for:
    a sidecar that was killed is on its way up again.
    """
    while True:
        try:
            return ties.client(True)
        except CollectorMissing:
            if time.monotonic() > deadline_s or not ties.home.lock.exists():
                raise
            time.sleep(_PAUSE_S)


def _end_last_life(ties: Connection, run: pb.RunRef, client: CollectorClient) -> None:
    """End this process's own last life of a run, where the collector was away: nobody adopts a living writer's."""
    key = (run.project, run.run_id)
    end_life = ties.unfinished.get(key)
    if end_life is not None:
        end_life(client)
        ties.unfinished.pop(key, None)


def _permission(
    settings: AgentSettings, ties: Connection, holding: Holding, run: pb.RunRef, trace: TraceId, epoch: int
) -> Permission:
    return Permission(
        Barrier(ties.spool, ties.home.spool, ties.family),
        run,
        trace,
        epoch,
        connect=ties.client,
        lease_is_valid=lambda: holding.is_valid,
        kick=ties.kick_drain,
        on_unreachable=settings.on_unreachable,
        unreachable_s=settings.unreachable_s,
    )


def _fetcher(ties: Connection, run: pb.RunRef, unreachable_s: float) -> Callable[[NodeId, str], bytes]:
    """Return what fetches a large answer; a collector that dies meanwhile is waited for, as before an effect."""

    def fetch(node_id: NodeId, what: str) -> bytes:
        deadline = time.monotonic() + unreachable_s
        again = False
        while True:
            try:
                return ties.client(again).fetch(run, node_id, what)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            again = True
            time.sleep(_PAUSE_S)

    return fetch


def _mirror(settings: AgentSettings, run: pb.RunRef, grant: pb.HoldReply, session: str) -> Mirror | None:
    if settings.tracer_provider is None:
        return None
    from livespan.instrumentation.mirror import Mirror  # what is not asked for costs no import

    told: dict[str, Scalar] = {names.PROJECT: run.project, names.RUN_ID: run.run_id, names.ATTEMPT: grant.attempt}
    if session:
        told[names.SESSION] = session
    return Mirror(settings.tracer_provider, told)


def _attempt(about: _About, masking: Masking) -> pb.Attempt:
    """Return what this life was started with: names of the environment, never values."""
    return pb.Attempt(
        argv=[masking.text(word, Field.METADATA, "argv") for word in STARTED.argv],
        cwd=STARTED.cwd,
        environment=sorted(os.environ),
        fingerprint=_fingerprint(),
        session=about.session,
        tags=about.tags,
        user=about.user,
    )


def _fingerprint() -> str:
    """Return the digest of the program's main file; it informs, and refuses nothing."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        return sha256(Path(path).read_bytes()).hexdigest() if path else ""
    except OSError:
        return ""

"""The loop over the lives of one run: start, wait, ask why it ended, wait longer, start again.

ask ─▶ start ─▶ ended ─▶ ask ─▶ judge ─┬─ done, stopped, asked to end ─▶ tell
 ▲                                     └─ crashed ─┬─ patience is over ─▶ tell
 └──────────────────── backoff ◀───────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from livespan.proto.errors import EXIT_CODES, ErrorKind
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.recovery.supervision.asking import Asker
from livespan.recovery.supervision.children import Children, Ended
from livespan.recovery.supervision.patience import GaveUp, Limits, Patience, Sighting
from livespan.recovery.supervision.verdict import Outcome, Verdict, has_opened, held_elsewhere, judge

__all__ = ["Program", "Supervised", "Supervisor"]

_NOT_STARTED: Final = Ended(0, 1, 0)
"""Stands for a life that was not begun, as it would have been refused the run."""
_SETTLE_S: Final = 1.0
"""Before giving up: what a killed life left in its spool is on its way, and may be progress."""
_LEASE_LOOK_S: Final = 0.5
_LEASE_LOOKS: Final = 240
_UNSEEN_LOOKS: Final = 40
"""For a holder that cannot be seen from here: longer than its lease lasts if it is dead."""
_FAILURE: Final = EXIT_CODES[ErrorKind.INTERNAL]


@dataclass(frozen=True, slots=True)
class Program:
    """What is started.

    Attributes:
        argv: program and arguments.
        environment: all of its environment.
        stdout: a descriptor that it gets instead of ours.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    stdout: int | None = None


@dataclass(frozen=True, slots=True)
class Supervised:
    """What became of a run.

    Attributes:
        lives: how often the program was started here.
        finished: the run has ended well.
    """

    verdict: Verdict
    lives: int
    finished: bool


class Supervisor:
    """Supervises one run.

    Args:
        children: starts the program, and passes signals on.
        asker: asks how the run stands.
        say: told one line for each restart.
    """

    def __init__(
        self, program: Program, children: Children, asker: Asker, limits: Limits, say: Callable[[str], None]
    ) -> None:
        self._program = program
        self._children = children
        self._asker = asker
        self._limits = limits
        self._say = say
        self._lives = 0

    def run(self) -> Supervised:
        """Start the program until its run is done, or something says that no further start would help.

        Raises:
            NotFound, Unavailable: the program cannot be started, or, before the first start, no collector answers.
        """
        first = self._asker.standing()
        before: pb.StandingReply | None = first
        patience = Patience(self._limits, _far(first))
        ended = _NOT_STARTED
        while True:
            before = self._once_free(before)
            holder = held_elsewhere(before) if before is not None else None
            if holder is not None or self._children.asked:
                return self._told(judge(ended, self._children.asked, before, before), before)
            ended, after, verdict = self._live(before)
            if verdict.outcome is not Outcome.CRASHED:
                return self._told(verdict, after)
            gave_up, after = self._count(patience, before, after)
            if gave_up is not None:
                return self._told(self._gave_up(gave_up, patience, ended, after), after)
            wait_s = patience.wait_s()
            self._say(
                f"{ended}{_where(after)}; restart {patience.restarts} of {self._limits.max_restarts} in {wait_s:.1f} s"
            )
            self._children.pause(wait_s)
            began, before = before, self._asker.standing_if_told() or after
            patience.looked(_sighting(began, before))

    def _live(self, before: pb.StandingReply | None) -> tuple[Ended, pb.StandingReply | None, Verdict]:
        self._children.start(self._program.argv, self._program.environment, self._program.stdout)
        self._lives += 1
        ended = self._children.next_end()
        after = self._asker.standing_if_told()
        return ended, after, judge(ended, self._children.asked, before, after)

    def _count(
        self, patience: Patience, before: pb.StandingReply | None, after: pb.StandingReply | None
    ) -> tuple[GaveUp | None, pb.StandingReply | None]:
        if patience.would_give_up(_sighting(before, after)):
            self._children.pause(_SETTLE_S)
            after = self._asker.standing_if_told() or after
        return patience.crashed(_sighting(before, after)), after

    def _once_free(self, standing: pb.StandingReply | None) -> pb.StandingReply | None:
        """Wait for the lease of a dead process to end, where the collector cannot see that it is dead; of one that
        may be dead, for as long as a lease lasts.
        """
        for look in range(_LEASE_LOOKS):
            if standing is None or not standing.HasField("holder"):
                break
            holder = held_elsewhere(standing)
            if holder is not None and (holder.is_local() or look == _UNSEEN_LOOKS):
                break
            if holder is not None and look == 0:
                self._say(f"it is run by {holder}, which cannot be seen from here; its lease may end within 20 s")
            if not self._children.pause(_LEASE_LOOK_S):
                break
            standing = self._asker.standing_if_told()
        return standing

    def _gave_up(self, why: GaveUp, patience: Patience, ended: Ended, standing: pb.StandingReply | None) -> Verdict:
        if why is GaveUp.CRASH_LOOP:
            reason = (
                f"a crash loop: {patience.lives_here} lives ended{_where(standing) or ' before they opened the run'} "
                f"({ended}), and nothing new was recorded between them"
            )
        else:
            reason = f"gave up after {patience.restarts} restarts without progress; the last life: {ended}"
        return Verdict(Outcome.GAVE_UP, _FAILURE, "CrashLoop", reason, "Mend the cause.")

    def _told(self, verdict: Verdict, standing: pb.StandingReply | None) -> Supervised:
        return Supervised(verdict, self._lives, standing is not None and standing.finished)


def _sighting(before: pb.StandingReply | None, standing: pb.StandingReply | None) -> Sighting:
    if standing is None:
        return Sighting(0, "unknown")
    return Sighting(_far(standing), standing.place_key if has_opened(before, standing) else "not opened")


def _far(standing: pb.StandingReply) -> int:
    """Return how far a run is; one that is opened anew is further than it was, and begins to count again."""
    return (standing.generation << 40) + standing.progress


def _where(standing: pb.StandingReply | None) -> str:
    return f" {standing.place}" if standing is not None and standing.attempts else ""

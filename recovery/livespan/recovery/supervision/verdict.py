"""What the end of a life means. The exit code alone does not say it: a run that stops in doubt leaves Python with exit
code 1, as a bug does. So the record is asked, where the agent's side has said why it stopped (on its lease's end).

    asked to end                        ENDED      whatever the program made of it
    another living process has the run  STOPPED    RunHeld
    one of our stops is recorded        STOPPED    InDoubt, Divergence, ...; but those that pass are CRASHED
    exit code 0                         DONE
    the run was cancelled               STOPPED    RunCancelled
    the run is finished all the same    STOPPED    what is left of the program is not the run's
    nothing opened, exit 2, 126, 127    STOPPED    called wrongly: it would be so again
    else                                CRASHED
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from livespan.proto.errors import EXIT_CODES, ErrorKind
from livespan.proto.holder import holder_process
from livespan.proto.process import ProcessId
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.recovery.supervision.children import Ended

__all__ = ["Outcome", "Verdict", "has_opened", "held_elsewhere", "judge"]

_PASSING: Final = frozenset({"LeaseLost", "EffectUnavailable"})
"""Stops that the next life may not meet: the collector was away, or this process was frozen."""
_CALLED_WRONGLY: Final = frozenset({2, 126, 127})
_SIGNAL_EXIT: Final = 128
_FAILURE: Final = EXIT_CODES[ErrorKind.INTERNAL]
_USAGE: Final = EXIT_CODES[ErrorKind.INVALID]
_CONFLICT: Final = EXIT_CODES[ErrorKind.CONFLICT]
_CODES: Final = {kind.value: code for kind, code in EXIT_CODES.items()}


class Outcome(StrEnum):
    """What becomes of a supervised run."""

    DONE = "done"
    CRASHED = "crashed"
    STOPPED = "stopped"
    ENDED = "ended"
    GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the end of a life means.

    Attributes:
        name: of what stopped it, as errors are named; "" where nothing did.
        reason: one sentence; "" where there is nothing to say.
        hint: what to do about it, with the command to paste.
        exit_code: with which `livespan run` ends, if it ends by this.
    """

    outcome: Outcome
    exit_code: int
    name: str = ""
    reason: str = ""
    hint: str = ""


def judge(ended: Ended, asked: int, before: pb.StandingReply | None, after: pb.StandingReply | None) -> Verdict:
    """Return what the end of a life means.

    Args:
        ended: how the process ended.
        asked: the signal by which the supervisor was asked to end, 0 = none.
        before, after: how the run stood before the life and stands now; None where no collector could be asked.
    """
    if asked:
        code = 0 if ended.code == 0 and not ended.signal else _SIGNAL_EXIT + asked
        return Verdict(Outcome.ENDED, code, reason=f"asked to end; {ended}")
    opened = has_opened(before, after)
    if after is not None:
        holder = held_elsewhere(after)
        if holder is not None:
            return _held(holder)
        if opened and after.HasField("stopped") and after.stopped.name not in _PASSING:
            return _stopped(after.stopped)
    if ended.code == 0 and not ended.signal:
        if after is None or after.finished:
            return Verdict(Outcome.DONE, 0)
        unfinished = "the program ended well, and its run did not end" if after.attempts else _NOT_OPENED
        return Verdict(Outcome.DONE, 0, reason=unfinished, hint="" if after.attempts else _NOT_OPENED_HINT)
    if after is not None and after.cancelled:
        return Verdict(
            Outcome.STOPPED, _CONFLICT, "RunCancelled", f"the run was cancelled ({after.cancelled})", _CANCELLED_HINT
        )
    if after is not None and after.finished:
        return Verdict(
            Outcome.STOPPED,
            _FAILURE,
            "RunFinished",
            f"the run is finished, and the program ended by itself with an error ({ended})",
            "Its steps are all recorded; what it does after the run is its own.",
        )
    if not opened and not ended.signal and ended.code in _CALLED_WRONGLY:
        return Verdict(
            Outcome.STOPPED,
            _USAGE,
            "InvalidInput",
            f"the program was called wrongly ({ended}, and no run was opened)",
            "Mend the command after `--`.",
        )
    return Verdict(Outcome.CRASHED, _FAILURE, reason=str(ended))


def has_opened(before: pb.StandingReply | None, after: pb.StandingReply | None) -> bool:
    """Return whether a life has opened the run; a finished one may have been opened anew, as the next generation."""
    if after is None:
        return False
    return before is None or (after.generation, after.attempts) > (before.generation, before.attempts)


_CANCELLED_HINT: Final = 'Use another id, or run(ID, if_finished="new") to begin this one anew, from its first step.'
_NOT_OPENED: Final = "the program ended well, and has not opened this run"
_NOT_OPENED_HINT: Final = "It must open it by `run()` without an id (LIVESPAN_RUN_ID is set), or by the same id."


def held_elsewhere(standing: pb.StandingReply) -> ProcessId | None:
    """Return the living process that holds a run; None where nobody does, or a dead one whose lease runs out."""
    if not standing.HasField("holder"):
        return None
    holder = holder_process(standing.holder)
    return None if holder.is_local() and not holder.is_alive() else holder


def _held(holder: ProcessId) -> Verdict:
    return Verdict(
        Outcome.STOPPED,
        _CONFLICT,
        "RunHeld",
        f"it is run by {holder}",
        "Wait until that process ends, or end it; then start this again.",
    )


def _stopped(stop: pb.ErrorDetail) -> Verdict:
    code = _CODES.get(stop.kind, _FAILURE)
    return Verdict(Outcome.STOPPED, code, stop.name, stop.message, stop.hint)

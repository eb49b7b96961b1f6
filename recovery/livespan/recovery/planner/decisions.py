"""The decision on each node of a journal, and its reason in plain words.

verdict   an effect               anything else
ANSWER    SKIP                    REUSE
AGAIN     REDO                    REDO           (SKIP, REUSE inside a call that is answered: nobody enters it)
DOUBT     IN_DOUBT, CONFLICT
"""

from __future__ import annotations

from typing import Final

from livespan.recovery.planner.shapes import Decision, PlannedNode, RunHold
from livespan.recovery.planner.tries import Try
from livespan.recovery.planner.verdicts import Verdict, Verdicts

__all__ = ["decide_call", "decide_scope"]

_OPTIONAL: Final = " It came between an error and the end of the run by it, so the program need not come to it again."


def decide_call(one: Try, verdicts: Verdicts, hold: RunHold) -> PlannedNode:
    """Return what becomes of a try of a call."""
    speaker = verdicts.speaking(one)
    if one.conflict or speaker is one:
        decision, reason = _spoken(one, verdicts, hold)
    else:
        decision, _ = _spoken(speaker, verdicts, hold)
        if decision in (Decision.IN_DOUBT, Decision.CONFLICT):
            decision = Decision.SKIP
        reason = f"Try {speaker.number + 1} of the same call, {speaker.node_id.hex()}, counts instead of this one."
    return PlannedNode(one.node_id.hex(), one.type, one.name, decision, reason)


def decide_scope(one: Try, verdicts: Verdicts, *, gap: bool) -> PlannedNode:
    """Return what becomes of a scope; `gap`: calls in it ran unrecorded."""
    closed = verdicts.answered_around(one.scope)
    if closed is not None:
        decision, reason = Decision.REUSE, _closed(closed)
    elif one.status == "SUCCESS":
        decision, reason = Decision.REUSE, "It ended well: it is entered again, and what it did is answered."
    elif one.status == "FAILED":
        reason = "It ended by an error: it is entered again, what it did is answered, and it goes on where that ends."
        decision = Decision.REDO
    else:
        decision, reason = Decision.REDO, "It has not ended: it is entered again, and goes on where its record ends."
    if gap:
        reason += " Calls in it ran unrecorded, for want of room: those are asked again."
    return PlannedNode(one.node_id.hex(), one.type, one.name, decision, reason)


def _spoken(one: Try, verdicts: Verdicts, hold: RunHold) -> tuple[Decision, str]:
    """Return the decision on a call by the try that speaks for it."""
    optional = _OPTIONAL if verdicts.is_optional(one) else ""
    match verdicts.on(one):
        case Verdict.ANSWER:
            return (Decision.SKIP if one.effect else Decision.REUSE), _answer(one) + optional
        case Verdict.AGAIN:
            closed = verdicts.answered_around(one.scope)
            if closed is not None:
                return (Decision.SKIP if one.effect else Decision.REUSE), _closed(closed)
            return Decision.REDO, _again(one) + optional
        case Verdict.DOUBT:
            if one.conflict:
                return Decision.CONFLICT, _conflict(one)
            if hold is RunHold.HELD:
                return Decision.SKIP, "It was started and has not ended; the process that runs the run may settle it."
            return Decision.IN_DOUBT, _doubt(one)


def _answer(one: Try) -> str:
    if one.settled:
        return f"It was settled as done ({one.settled_by or 'by hand'}): that outcome answers, and it is not run."
    if one.status == "FAILED":
        known = "" if one.not_done or not one.effect else " Whether its effect happened the record does not say."
        return f"It raised {one.error or 'an error'} and the program went on: the same error is raised again.{known}"
    if one.unrecordable:
        return "It was done, but its result could not be recorded: asking for it raises that error again."
    if one.effect:
        return "The effect was done: its recorded result answers, and it is not run again."
    return "Its recorded result answers: it is not run, or paid for, again."


def _closed(call: Try) -> str:
    return f"It ran inside {call.type} {call.name}, which is answered from the record: nothing in there is run again."


def _again(one: Try) -> str:
    if one.settled:
        return f"It was settled as not done ({one.settled_by or 'by hand'}): it is run."
    if one.not_done:
        return "It said that its effect did not happen: it is run again, under the same idempotency key."
    if one.retried:
        return f"It raised {one.error or 'an error'}, and its policy tries it again: it is run again."
    if one.status == "FAILED":
        return f"It raised {one.error or 'an error'}, which ended the run and was not dealt with: it is run again."
    if one.status == "CANCELLED":
        return "It was cancelled from outside and changes nothing in the world: it is run again."
    return "It was started and never ended, and it changes nothing in the world: it is run again."


def _conflict(one: Try) -> str:
    said = "was done" if one.settled == "done" else "was not done"
    return (
        f"It was settled ({one.settled_by or 'by hand'}): it {said}. Its own end, which came later, says otherwise. "
        "Look it up at the provider: the run does not go past it by itself."
    )


def _doubt(one: Try) -> str:
    if one.retried:
        happened = f"It raised {one.error or 'an error'} and was to be tried again; the effect may have happened."
    elif one.status == "FAILED":
        happened = f"It raised {one.error or 'an error'}, which ended the run; the effect may have happened even so."
    elif one.status == "CANCELLED":
        happened = "It was cancelled while it ran; the effect may have happened even so."
    else:
        happened = "It was started and never heard of again; nobody knows whether the effect happened."
    return f"{happened} Its tool's policy settles it (a probe, a retry), or a person does: livespan resolve."

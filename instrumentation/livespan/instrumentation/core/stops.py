"""The two stops that the core raises, with what a caller needs to show the reason.

The core knows digests, not inputs; who raises these to a person adds the first difference of the
inputs to `message`.
"""

from __future__ import annotations

from livespan.instrumentation.core.call import Call
from livespan.instrumentation.core.history import Recorded, Settlement
from livespan.proto.errors import Divergence, InDoubt

__all__ = ["BeyondTheEnd", "EffectInDoubt", "ProgramChanged"]


class ProgramChanged(Divergence):
    """The program asks for what the record does not hold, or ends before it has asked for all that
    it holds.

    Attributes:
        recorded: what the record holds there, or what it holds and nobody asked for.
        call: what was asked for; None at the end of a scope or of the run.
        scope: path of the scope.
    """

    def __init__(self, recorded: Recorded, scope: str, call: Call | None, *, run_id: str) -> None:
        held = f"record {recorded.order} holds {recorded.kind} {recorded.name}"
        if call is None:
            message = f"{scope} ended, and nothing asked for what {held}"
        elif (call.kind, call.name) == (recorded.kind, recorded.name):
            message = f"the program asks for {call.kind} {call.name} in {scope} with another input than {held} with"
        else:
            message = f"the program asks for {call.kind} {call.name} in {scope} where {held}"
        super().__init__(
            message,
            subject=run_id,
            hint="Run the program that made the record, or start a run of another id with the changed one.",
        )
        self.recorded = recorded
        self.call = call
        self.scope = scope


class BeyondTheEnd(Divergence):
    """The run is finished, and the program asks for an effect that its record does not hold.

    Reads may have been lost where the spool was full; of an effect the record always knows.
    """

    def __init__(self, scope: str, call: Call, *, run_id: str) -> None:
        super().__init__(
            f"the run is finished, and its record holds no {call.kind} {call.name} with this input in {scope}",
            subject=run_id,
            hint='Start a run of another id, or run(ID, if_finished="new") to begin this one anew.',
        )


class EffectInDoubt(InDoubt):
    """An effect was started in an earlier life, and whether it happened is not known.

    Attributes:
        recorded: the try that is in doubt.
    """

    def __init__(self, recorded: Recorded, *, run_id: str, reason: str = "") -> None:
        node = recorded.node_id.hex()
        if recorded.conflict:
            said = "was not done" if recorded.settled is Settlement.NOT_DONE else "was done"
            message = (
                f"{recorded.name} was settled as one that {said}, and its own end, which came later, says otherwise"
            )
        else:
            message = f"{recorded.name} was started (record {recorded.order}), and whether it was done is not known"
        super().__init__(
            f"{message}; {reason}" if reason else message,
            subject=f"{run_id}/{node}" if run_id else node,
            hint=f"Look it up, then: livespan resolve {run_id or 'RUN'} {node} --done JSON (or --not-done)",
        )
        self.recorded = recorded

"""The begin/done core: the rules by which a run goes on from its record, without I/O. core.py
draws them.
"""

from __future__ import annotations

from livespan.instrumentation.core.call import (
    FAIL,
    NOT_DONE,
    Call,
    Fail,
    InDoubtPolicy,
    NotDone,
    NotDoneType,
    Probe,
    Retry,
    says_not_done,
)
from livespan.instrumentation.core.core import Answer, Begun, Core, Doubt, Live
from livespan.instrumentation.core.history import (
    History,
    Outcome,
    Recorded,
    RunEnd,
    Settlement,
    Verdict,
)
from livespan.instrumentation.core.origin import mark, origins
from livespan.instrumentation.core.scope import OnEnd, Scope, escape
from livespan.instrumentation.core.stops import EffectInDoubt, ProgramChanged

__all__ = [
    "FAIL",
    "NOT_DONE",
    "Answer",
    "Begun",
    "Call",
    "Core",
    "Doubt",
    "EffectInDoubt",
    "Fail",
    "History",
    "InDoubtPolicy",
    "Live",
    "NotDone",
    "NotDoneType",
    "OnEnd",
    "Outcome",
    "Probe",
    "ProgramChanged",
    "Recorded",
    "Retry",
    "RunEnd",
    "Scope",
    "Settlement",
    "Verdict",
    "escape",
    "mark",
    "origins",
    "says_not_done",
]

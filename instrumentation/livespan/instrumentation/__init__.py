"""What an agent imports: `import livespan.instrumentation as ls`.

    @ls.tool                                  an effect: never run twice unasked
    @ls.step                                  a model call, a read, or (type="BRANCH") a group of steps
    with ls.run("order-17") as r:             opens the run, or resumes it where its record ends
        ls.checkpoint(state); r.restore()
    ls.instrument()                           the frameworks that are installed
    ls.LivespanSaver()                        a checkpointer of LangGraph's, where that is installed

What is listed in `__all__` is public; all else may change. Names are looked up when they are used, so that importing
this package costs nothing where little of it is needed (the drain).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livespan.instrumentation.branches import branch
    from livespan.instrumentation.context import annotate, checkpoint, idempotency_key
    from livespan.instrumentation.core import NOT_DONE, NotDone, Retry
    from livespan.instrumentation.decorators import step, tool
    from livespan.instrumentation.frameworks import instrument, uninstrument
    from livespan.instrumentation.frameworks.langgraph_saver import LivespanSaver as LivespanSaver
    from livespan.instrumentation.masking import Masked
    from livespan.instrumentation.processor import LivespanSpanProcessor
    from livespan.instrumentation.run_block import Run, run
    from livespan.instrumentation.values import now, random, uuid4
    from livespan.proto.codec import register_codec
    from livespan.proto.errors import (
        Cancelled,
        CollectorMissing,
        Divergence,
        EffectUnavailable,
        InDoubt,
        LeaseLost,
        RecordedError,
        RunCancelled,
        RunFinished,
        RunHeld,
        RunStopped,
        SpoolFull,
        Unavailable,
        Unrecordable,
    )

__all__ = [
    "NOT_DONE",
    "Cancelled",
    "CollectorMissing",
    "Divergence",
    "EffectUnavailable",
    "InDoubt",
    "LeaseLost",
    "LivespanSpanProcessor",
    "Masked",
    "NotDone",
    "RecordedError",
    "Retry",
    "Run",
    "RunCancelled",
    "RunFinished",
    "RunHeld",
    "RunStopped",
    "SpoolFull",
    "Unavailable",
    "Unrecordable",
    "annotate",
    "branch",
    "checkpoint",
    "idempotency_key",
    "instrument",
    "now",
    "random",
    "register_codec",
    "run",
    "step",
    "tool",
    "uninstrument",
    "uuid4",
]

_WITH_LANGGRAPH = ("LivespanSaver",)
"""Public as well, and not in `__all__`: `import *` would ask for LangGraph."""
_HOMES = {
    "branches": ("branch",),
    "context": ("annotate", "checkpoint", "idempotency_key"),
    "core": ("NOT_DONE", "NotDone", "Retry"),
    "decorators": ("step", "tool"),
    "frameworks": ("instrument", "uninstrument"),
    "frameworks.langgraph_saver": _WITH_LANGGRAPH,
    "masking": ("Masked",),
    "processor": ("LivespanSpanProcessor",),
    "run_block": ("Run", "run"),
    "values": ("now", "random", "uuid4"),
}
_MODULES = {name: f"livespan.instrumentation.{module}" for module, public in _HOMES.items() for name in public}
_MODULES["register_codec"] = "livespan.proto.codec"

# At once, and not when the first run opens: the program may have gone to another folder by then.
import_module("livespan.instrumentation.started")


def __getattr__(name: str) -> Any:
    if name not in __all__ and name not in _WITH_LANGGRAPH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES.get(name, "livespan.proto.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted((*__all__, *_WITH_LANGGRAPH))

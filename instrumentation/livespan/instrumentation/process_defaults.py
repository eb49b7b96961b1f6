"""What `instrument()` said for all runs of this process: stronger than the environment, weaker than `run()`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from livespan.instrumentation.masking import Mask
from livespan.instrumentation.settings import AgentSettings

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["ProcessDefaults", "forget_process_defaults", "said_mask", "say_process_defaults", "with_process_defaults"]


@dataclass(frozen=True, slots=True)
class ProcessDefaults:
    """What was said; None = nothing."""

    mask: Mask | None = None
    tracer_provider: TracerProvider | None = None


_said = [ProcessDefaults()]


def say_process_defaults(mask: Mask | None, tracer_provider: TracerProvider | None) -> None:
    """Note what `instrument` was given; what it was not given stays as it was said before."""
    before = _said[0]
    _said[0] = ProcessDefaults(mask or before.mask, tracer_provider or before.tracer_provider)


def said_mask() -> Mask | None:
    """Return the mask that was said, None = none."""
    return _said[0].mask


def forget_process_defaults() -> None:
    """Go back to what the environment says."""
    _said[0] = ProcessDefaults()


def with_process_defaults(settings: AgentSettings) -> AgentSettings:
    """Return settings with what was said in the place of what the environment says."""
    said = _said[0]
    return replace(
        settings,
        mask=said.mask or settings.mask,
        tracer_provider=said.tracer_provider or settings.tracer_provider,
    )

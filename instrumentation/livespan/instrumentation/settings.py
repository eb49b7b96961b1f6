"""What an agent's side may be told, read once from the environment when the first run opens; arguments win over it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from livespan.instrumentation.masking import Mask, load_mask
from livespan.proto.access import NO_ACCESS, Access, access_from
from livespan.proto.errors import InvalidInput
from livespan.proto.home import Home, default_home

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["AgentSettings", "Unreachable", "agent_settings", "target"]

Unreachable: TypeAlias = Literal["fail", "spool"]

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Settings of one process's agent side.

    Attributes:
        home: where the spool lies.
        endpoint: target of a collector that runs elsewhere (https:// before it: TLS); "" = the home's own, started
            when it is needed.
        project: names the user's program; part of a run's identity.
        run_id: of a run that is opened without `run()`; "" = an automatic one.
        in_doubt: policy of effects that say nothing themselves, by tool name; "" names the default.
        budget_ms: longest wait for room in the spool.
        spool_max_bytes: of this process; the home's cap is four times it.
        on_unreachable: what an effect does when its start cannot be acknowledged: "fail" raises, "spool" goes on
            while the lease
            lives (then promise 3 holds only for restarts that reach this home).
        unreachable_s: how long an effect waits for the collector before that.
        mask: what takes out of records what must not be recorded (masking.py); None = nothing does.
        tracer_provider: where nodes are mirrored as ordinary spans (mirror.py); None = nowhere.
        access: certificate and headers for a collector that runs elsewhere.
    """

    home: Home
    endpoint: str = ""
    project: str = "default"
    run_id: str = ""
    in_doubt: Mapping[str, str] = field(default_factory=dict[str, str])
    budget_ms: float = 50.0
    spool_max_bytes: int = 256 * _MIB
    on_unreachable: Unreachable = "fail"
    unreachable_s: float = 10.0
    mask: Mask | None = None
    tracer_provider: TracerProvider | None = None
    access: Access = NO_ACCESS


def agent_settings(environment: Mapping[str, str] | None = None) -> AgentSettings:
    """Read the settings from the environment.

    Raises:
        InvalidInput: a variable holds what it cannot.
    """
    env = os.environ if environment is None else environment
    root = Path(env["LIVESPAN_HOME"]) if env.get("LIVESPAN_HOME") else default_home()
    return AgentSettings(
        home=Home(root.expanduser().absolute()),
        endpoint=target(env.get("LIVESPAN_ENDPOINT", "")),
        project=env.get("LIVESPAN_PROJECT") or "default",
        run_id=env.get("LIVESPAN_RUN_ID", ""),
        in_doubt=_policies(env.get("LIVESPAN_IN_DOUBT", "")),
        budget_ms=_number(env, "LIVESPAN_BUDGET_MS", 50.0),
        spool_max_bytes=int(_number(env, "LIVESPAN_SPOOL_MAX_BYTES", 256 * _MIB)),
        mask=load_mask(env.get("LIVESPAN_MASK", "")),
        access=access_from(env),
    )


def target(endpoint: str) -> str:
    """Return a target for what users write: https://host:4317, http://host:4317, host:4317 or unix:/path."""
    return endpoint.removeprefix("http://").rstrip("/")


def _policies(text: str) -> dict[str, str]:
    """Return policies by tool name from `charge_card=retry,send_mail=fail`; a bare word is the default of all."""
    found: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, policy = part.rpartition("=")
        if policy not in {"fail", "retry"}:
            raise InvalidInput(
                f"{policy!r} is no policy",
                subject="LIVESPAN_IN_DOUBT",
                hint="Use `fail`, `retry`, or `tool=retry,other=fail`.",
            )
        found[name] = policy
    return found


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise InvalidInput(f"{text!r} is not a number of 0 or more", subject=name)
    return value

"""What the user said of tools by their names, and the call site of each: for tools that no decorator of ours stands on.

    instrument(effects={"search": False}, in_doubt={"charge_card": "retry"})
    LIVESPAN_READS=search LIVESPAN_IN_DOUBT=charge_card=retry livespan run --id order-17 -- python agent.py

A tool is an effect unless it is declared a read: there, by its MCP annotation `readOnlyHint`, or because what it runs
is recorded by itself (a function under `@livespan.instrumentation.tool`), so that the tool around it may be entered
again. It is never guessed from a name.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Final

from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.core import FAIL
from livespan.instrumentation.decorators import InDoubtSetting, policy
from livespan.proto.node import NodeType

__all__ = ["configure", "forget", "tool_site"]

_effects: Final[dict[str, bool]] = {}
_in_doubt: Final[dict[str, InDoubtSetting]] = {}
_sites: Final[dict[tuple[str, str, bool, tuple[type[BaseException], ...]], CallSite]] = {}
_lock: Final = threading.Lock()


def _reads_of_the_environment() -> frozenset[str]:
    """Return the tools that `LIVESPAN_READS=search,look_up` declares reads."""
    return frozenset(name.strip() for name in os.environ.get("LIVESPAN_READS", "").split(",") if name.strip())


def configure(effects: Mapping[str, bool] | None, in_doubt: Mapping[str, InDoubtSetting] | None) -> None:
    """Take what the user says; None leaves as it is what was said before.

    Raises:
        InvalidInput: a setting is no in-doubt policy. Nothing was taken then.
    """
    for name, setting in (in_doubt or {}).items():
        policy(setting, name)
    with _lock:
        if effects is not None:
            _effects.clear()
            _effects.update(effects)
        if in_doubt is not None:
            _in_doubt.clear()
            _in_doubt.update(in_doubt)
        _sites.clear()


def forget() -> None:
    """Forget all that was said."""
    configure({}, {})


def tool_site(name: str, framework: str, *, read: bool, not_done_on: tuple[type[BaseException], ...] = ()) -> CallSite:
    """Return the call site of a tool.

    Args:
        read: what the tool says of itself; what the user said by its name wins.
        not_done_on: errors by which the framework leaves a tool that has not done its work.
    """
    key = (name, framework, read, not_done_on)
    site = _sites.get(key)
    if site is None:
        with _lock:
            effect = _effects.get(name, not read and name not in _reads_of_the_environment())
            in_doubt = policy(_in_doubt.get(name), name) if effect else FAIL
            site = CallSite.of(
                NodeType.TOOL, name, effect=effect, in_doubt=in_doubt, not_done_on=not_done_on, framework=framework
            )
            _sites[key] = site
    return site

"""LangGraph's own checks of a saver, each a test: all that `langgraph-checkpoint-conformance` has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import pytest
from tests.livespan_home import LiveHome

from livespan.instrumentation import LivespanSaver

Check = Callable[[Any], Awaitable[None]]
_CONFORMANCE = "langgraph.checkpoint.conformance"
CAPABILITIES: Any = import_module(f"{_CONFORMANCE}.capabilities")


def checks() -> dict[str, Check]:
    found: dict[str, Check] = {}
    for capability in sorted(each.value for each in CAPABILITIES.ALL_CAPABILITIES):
        module = import_module(f"{_CONFORMANCE}.spec.test_{capability}")
        for check in getattr(module, f"ALL_{capability.upper()}_TESTS"):
            found[f"{capability}-{check.__name__.removeprefix('test_')}"] = check
    return found


CHECKS = checks()


def test_every_capability_is_there() -> None:
    detected = CAPABILITIES.DetectedCapabilities.from_instance(LivespanSaver()).detected
    assert detected == CAPABILITIES.ALL_CAPABILITIES
    assert len(CHECKS) == 81


@pytest.mark.parametrize("name", CHECKS)
async def test_conformance(shared: LiveHome, name: str) -> None:
    await CHECKS[name](LivespanSaver(home=shared.home.root))

"""`instrument` and `uninstrument`: what they hook, what they refuse, and that they leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.tools import BaseTool, tool
from langgraph import pregel
from tests.instrumentation.fake_session import Tape

from livespan.instrumentation import run_block
from livespan.instrumentation.branches import CURRENT
from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.instrumentation.frameworks.langgraph import LangGraphInstrumentor
from livespan.instrumentation.frameworks.tool_sites import tool_site
from livespan.proto.errors import InvalidInput
from livespan.proto.node import NodeType

RUNNER: Any = import_module("langgraph.pregel._runner")
HOOKED: list[tuple[Any, str]] = [
    (BaseChatModel, "_generate_with_cache"),
    (BaseChatModel, "_agenerate_with_cache"),
    (BaseChatModel, "agenerate"),
    (BaseChatModel, "stream"),
    (BaseChatModel, "astream"),
    (BaseTool, "run"),
    (BaseTool, "arun"),
    (pregel.Pregel, "stream"),
    (pregel.Pregel, "astream"),
    (RUNNER, "run_with_retry"),
    (RUNNER, "arun_with_retry"),
]


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    yield
    uninstrument()


def test_everything_hooked_is_put_back() -> None:
    before: list[Any] = [vars(owner)[name] for owner, name in HOOKED]
    assert "langgraph" in instrument()
    during: list[Any] = [vars(owner)[name] for owner, name in HOOKED]
    assert all(new is not old for new, old in zip(during, before, strict=True))
    assert instrument(["langgraph"]) == ("langgraph",)
    assert [vars(owner)[name] for owner, name in HOOKED] == during
    uninstrument()
    uninstrument()
    assert [vars(owner)[name] for owner, name in HOOKED] == before


def test_a_framework_is_hooked_when_the_program_imports_it() -> None:
    program = (
        "import sys, livespan.instrumentation as ls\n"
        "assert {'langgraph', 'openai', 'agents', 'pydantic_ai'} <= {*ls.instrument()} | {'agents'}\n"
        "assert not {'langgraph', 'openai', 'agents', 'pydantic_ai', 'mcp', 'anthropic'} & {*sys.modules}\n"
        "import openai\n"
        "from livespan.instrumentation.frameworks.openai import OpenAIInstrumentor\n"
        "assert OpenAIInstrumentor().is_instrumented_by_opentelemetry\n"
        "assert 'request' in vars(openai._base_client.SyncAPIClient)['request'].__qualname__\n"
        "ls.uninstrument()\n"
        "import anthropic\n"
        "from livespan.instrumentation.frameworks.anthropic import AnthropicInstrumentor\n"
        "assert not AnthropicInstrumentor().is_instrumented_by_opentelemetry\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_framework_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"Known are: .*langgraph"):
        instrument(["langgraff"])


def test_a_version_that_is_not_supported_is_refused_with_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_new(instrumentor: LangGraphInstrumentor) -> tuple[str, ...]:
        del instrumentor
        return ("langgraph >= 99",)

    monkeypatch.setattr(LangGraphInstrumentor, "instrumentation_dependencies", too_new)
    before = BaseTool.run
    with pytest.raises(InvalidInput, match="langgraph >= 99; found is langgraph 1"):
        instrument()
    assert BaseTool.run is before


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no in-doubt policy"):
        instrument(in_doubt={"charge": "maybe"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]  # that is the point


def test_where_a_name_is_missing_nothing_stays_hooked(monkeypatch: pytest.MonkeyPatch) -> None:
    before: list[Any] = [vars(owner)[name] for owner, name in HOOKED[:-1]]
    monkeypatch.delattr(RUNNER, "arun_with_retry")
    with pytest.raises(AttributeError, match="arun_with_retry"):
        instrument()
    assert [vars(owner)[name] for owner, name in HOOKED[:-1]] == before


def test_outside_of_a_run_calls_go_to_the_implicit_one(monkeypatch: pytest.MonkeyPatch) -> None:
    @tool
    def look() -> str:
        """Look."""
        return "seen"

    instrument()
    tape = Tape()
    with tape.life() as session:
        monkeypatch.setattr(run_block, "_implicit_run", lambda: SimpleNamespace(session=session))
        token = CURRENT.set(None)
        look.invoke({})
        CURRENT.reset(token)
    assert tape.scopes(NodeType.TOOL) == ["/"]


def test_the_environment_may_declare_reads_and_what_the_program_says_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVESPAN_READS", "search, look_up")
    instrument(["langgraph"], effects={"look_up": True})
    effects = {name: tool_site(name, "langgraph", read=False).effect for name in ("search", "look_up", "charge")}
    assert effects == {"search": False, "look_up": True, "charge": True}

"""Agents of the OpenAI Agents SDK that its tests share, and the ways to run them.

Tools count their bodies in `RAN`. Models are real clients of a model server, which counts requests by label.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final, Literal, TypeAlias

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    Runner,
    RunResult,
    RunResultStreaming,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

from livespan.replay.testing import ModelServer
from livespan.replay.testing.model_server import LABEL_HEADER

__all__ = ["RAN", "Way", "asked_of", "charge_card", "model_of", "order_agent", "run_agent"]

RAN: Final[Counter[str]] = Counter()
Way: TypeAlias = Literal["sync", "async", "stream"]

set_tracing_disabled(disabled=True)


@function_tool
def look_up_order(order_id: str) -> str:
    """Look up an order."""
    RAN["look_up_order"] += 1
    return f"{order_id}: a kettle"


@function_tool
async def check_stock(order_id: str) -> str:
    """Check the stock."""
    RAN["check_stock"] += 1
    return f"{order_id}: 3 left"


@function_tool
def charge_card(cents: int) -> str:
    """Charge the card."""
    RAN["charge_card"] += 1
    return f"charged {cents}, receipt {RAN['charge_card']}"


def model_of(server: ModelServer, label: str = "agent") -> OpenAIChatCompletionsModel:
    """Return a client whose requests the server counts under `label`."""
    client = AsyncOpenAI(
        base_url=server.base_url,
        api_key="none",
        max_retries=0,
        # An open connection belongs to its loop, and each way of running here has a loop of its own.
        default_headers={LABEL_HEADER: label, "connection": "close"},
    )
    return OpenAIChatCompletionsModel("livespan-test-model", client)


def asked_of(server: ModelServer, label: str = "agent") -> int:
    """Return how many requests the server has had."""
    return server.counts(label).requests


def order_agent(server: ModelServer, label: str = "agent", **more: Any) -> Agent[Any]:
    """Return an agent that reads twice, charges once and says so."""
    return Agent(name="shop", model=model_of(server, label), tools=[look_up_order, check_stock, charge_card], **more)


def run_agent(agent: Agent[Any], way: Way = "async", question: Any = "pay order-17", **more: Any) -> Any:
    """Run an agent and return its result."""

    async def stream() -> RunResultStreaming:
        result = Runner.run_streamed(agent, question, **more)
        async for _ in result.stream_events():
            pass
        return result

    async def run() -> RunResult:
        return await Runner.run(agent, question, **more)

    if way == "sync":
        # It takes the thread's loop and leaves it open.
        with asyncio.Runner() as runner:
            asyncio.set_event_loop(runner.get_loop())
            return Runner.run_sync(agent, question, **more)
    return asyncio.run(stream() if way == "stream" else run())

"""Agents of Pydantic AI that its tests share, and the ways to run them.

Tools count their bodies in `RAN`. Models are real clients of a model server, which counts requests by label.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final, Literal, TypeAlias

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from livespan.replay.testing import ModelServer
from livespan.replay.testing.model_server import LABEL_HEADER

__all__ = ["RAN", "WAYS", "Way", "asked_of", "charge_card", "model_of", "order_agent", "run_agent"]

RAN: Final[Counter[str]] = Counter()
Way: TypeAlias = Literal["sync", "async", "stream", "events", "iter"]
WAYS: Final[tuple[Way, ...]] = ("sync", "async", "stream", "events", "iter")


def look_up_order(order_id: str) -> str:
    """Look up an order."""
    RAN["look_up_order"] += 1
    return f"{order_id}: a kettle"


async def check_stock(order_id: str) -> str:
    """Check the stock."""
    RAN["check_stock"] += 1
    return f"{order_id}: 3 left"


def charge_card(cents: int) -> str:
    """Charge the card."""
    RAN["charge_card"] += 1
    return f"charged {cents}, receipt {RAN['charge_card']}"


def model_of(server: ModelServer, label: str = "agent") -> OpenAIChatModel:
    """Return a client whose requests the server counts under `label`."""
    client = AsyncOpenAI(
        base_url=server.base_url,
        api_key="none",
        max_retries=0,
        # An open connection belongs to its loop, and each way of running here has a loop of its own.
        default_headers={LABEL_HEADER: label, "connection": "close"},
    )
    return OpenAIChatModel("livespan-test-model", provider=OpenAIProvider(openai_client=client))


def asked_of(server: ModelServer, label: str = "agent") -> int:
    """Return how many requests the server has had."""
    return server.counts(label).requests


def order_agent(server: ModelServer, label: str = "agent", **more: Any) -> Agent[None, str]:
    """Return an agent that reads twice, charges once and says so."""
    return Agent(model_of(server, label), name="shop", tools=[look_up_order, check_stock, charge_card], **more)


def run_agent(agent: Agent[None, Any], way: Way = "async", question: Any = "pay order-17", **more: Any) -> Any:
    """Run an agent and return its messages and its output."""

    async def stream() -> Any:
        async with agent.run_stream(question, **more) as result:
            async for _ in result.stream_output(debounce_by=None):
                pass
            return result.all_messages(), await result.get_output()

    async def events() -> Any:
        async with agent.run_stream_events(question, **more) as stream:
            async for event in stream:
                if event.event_kind == "agent_run_result":
                    return event.result.all_messages(), event.result.output
        raise AssertionError

    async def step() -> Any:
        async with agent.iter(question, **more) as run:
            async for _ in run:
                pass
            assert run.result is not None
            return run.result.all_messages(), run.result.output

    async def run() -> Any:
        result = await agent.run(question, **more)
        return result.all_messages(), result.output

    if way == "sync":
        # It takes the thread's loop and leaves it open.
        with asyncio.Runner() as runner:
            asyncio.set_event_loop(runner.get_loop())
            result = agent.run_sync(question, **more)
            return result.all_messages(), result.output
    return asyncio.run({"async": run, "stream": stream, "events": events, "iter": step}[way]())

"""Agents, graphs and tools that the LangGraph tests share, and how two of their lives are compared.

Tools count their bodies in `RAN`. Models are real clients of a model server, which counts requests by label.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from langchain import agents
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from livespan.replay.testing import ModelServer
from livespan.replay.testing.model_server import LABEL_HEADER

__all__ = [
    "ORDER",
    "RAN",
    "Run",
    "asked_of",
    "charge_card",
    "check_stock",
    "create_agent",
    "look_up_order",
    "model_of",
    "order_agent",
    "run_agent",
    "shape",
]

Run = Callable[[], Any]

# Its signature is only partly typed in its own package.
create_agent: Callable[..., Any] = cast("Any", agents).create_agent
ORDER: Final = {"messages": [HumanMessage("pay order-17", id="asked")]}
RAN: Final[Counter[str]] = Counter()


@tool
def look_up_order(order_id: str) -> str:
    """Look up an order."""
    RAN["look_up_order"] += 1
    return f"{order_id}: a kettle"


@tool
def check_stock(order_id: str) -> str:
    """Check the stock."""
    RAN["check_stock"] += 1
    return f"{order_id}: 3 left"


@tool
def charge_card(cents: int) -> dict[str, object]:
    """Charge the card."""
    RAN["charge_card"] += 1
    return {"receipt": f"rc-{RAN['charge_card']}", "cents": cents}


def model_of(server: ModelServer, label: str = "agent", **settings: Any) -> ChatOpenAI:
    """Return a client whose requests the server counts under `label`."""
    return ChatOpenAI(
        model="livespan-test-model",
        base_url=server.base_url,
        api_key=SecretStr("none"),
        max_retries=0,
        # LangChain keeps one asynchronous client for all loops, whose open connections belong to the first.
        default_headers={LABEL_HEADER: label, "connection": "close"},
        **settings,
    )


def asked_of(server: ModelServer, label: str = "agent") -> int:
    """Return how many requests the server has had."""
    return server.counts(label).requests


def order_agent(server: ModelServer, label: str = "agent", **more: Any) -> Any:
    """Return an agent that reads twice, charges once and says so."""
    tools: list[BaseTool] = [look_up_order, check_stock, charge_card]
    return create_agent(model_of(server, label), tools, **more)


def run_agent(agent: Any, *, use_async: bool = False) -> list[BaseMessage]:
    """Run an agent on the order and return its messages."""
    state = asyncio.run(agent.ainvoke(ORDER)) if use_async else agent.invoke(ORDER)
    return cast("list[BaseMessage]", state["messages"])


def shape(messages: Sequence[BaseMessage]) -> list[object]:
    """Return messages without the ids that LangGraph draws for tool messages in every life."""
    found: list[object] = []
    for message in messages:
        copy = message.model_copy(update={"id": None}) if isinstance(message, ToolMessage) else message
        found.append((type(copy), copy.model_dump()))
        assert not isinstance(message, AIMessage) or message.id
    return found

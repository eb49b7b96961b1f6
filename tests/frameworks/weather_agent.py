"""One LangChain agent and one plain OpenAI client, asked the same whoever watches them. Imports nothing of Livespan or
of the tests: it also runs in environments that have neither.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

from langchain import agents
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import BadRequestError, OpenAI

__all__ = ["ANSWER", "MODEL", "QUESTION", "ask_agent", "ask_client"]

MODEL = "weather-model"
ANSWER = "They say: 57F in Paris for 2 days"
QUESTION = "What is the weather in Paris?"


@tool
def get_weather(city: str, days: int = 1) -> str:
    """Tell the weather of a city for some days."""
    return f"57F in {city} for {days} days"


def ask_agent(base_url: str) -> str:
    """Have the agent answer: it asks the model, calls its one tool, and asks the model again."""
    model = ChatOpenAI(model=MODEL, base_url=base_url, api_key=cast("Any", "none"), max_retries=0)
    agent = cast("Any", agents).create_agent(model, tools=[get_weather])
    answer = agent.invoke({"messages": [HumanMessage(QUESTION)]})
    return str(answer["messages"][-1].content)


def ask_client(base_url: str) -> None:
    """Make two calls: one is answered, one is refused, since it answers a tool call that nobody made."""
    client = OpenAI(base_url=base_url, api_key="none", max_retries=0)
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}])
    with suppress(BadRequestError):
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "tool", "tool_call_id": "call_nobody", "content": "57F"}]
        )

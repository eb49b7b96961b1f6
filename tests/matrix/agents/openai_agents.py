"""The matrix's program in the OpenAI Agents SDK: the Chat Completions model, and SQLiteSession as its own
checkpointer.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from tests.matrix.agent import MODEL, Charging, Job, play

set_tracing_disabled(disabled=True)


def work(job: Job, charge: Charging) -> str:
    """Ask the agent, or the one that has it as a tool."""

    @function_tool
    def charge_card(cents: int) -> str:
        """Charge the customer's card."""
        return charge(cents)

    model = OpenAIChatCompletionsModel(MODEL, AsyncOpenAI(base_url=job.model_url, api_key="none", max_retries=0))
    agent: Agent[Any] = Agent("billing", model=model, tools=[charge_card])
    if job.shape == "nested":
        agent = Agent("shop", model=model, tools=[agent.as_tool("billing", "Have the billing agent do it.")])
    if job.how == "own":
        return asyncio.run(_go_on(job, agent))
    if job.way == "async":
        return asyncio.run(_ask(agent, job.question))
    if job.way == "stream":
        return asyncio.run(_stream(agent, job.question))
    return str(Runner.run_sync(agent, job.question).final_output)


async def _ask(agent: Agent[Any], question: str) -> str:
    return str((await Runner.run(agent, question)).final_output)


async def _stream(agent: Agent[Any], question: str) -> str:
    said = ""
    result = Runner.run_streamed(agent, question)
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            said += event.data.delta
    return said


async def _go_on(job: Job, agent: Agent[Any]) -> str:
    """Ask with a session, or go on where it stands."""
    session = SQLiteSession("order", job.own)
    try:
        items = await session.get_items()
        return str((await Runner.run(agent, [] if items else job.question, session=session)).final_output)
    finally:
        session.close()


if __name__ == "__main__":
    sys.exit(play(work))

"""The matrix's program in Pydantic AI: OpenAIChatModel. It has no store of its own that outlives a process, so for
`own` the program itself keeps the messages after every node, and begins with those.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessagesTypeAdapter
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from tests.matrix.agent import MODEL, Charging, Job, play

import livespan.instrumentation as ls


def work(job: Job, charge: Charging) -> str:
    """Ask the agent, or the one that asks it."""

    def charge_card(cents: int) -> str:
        """Charge the customer's card."""
        return charge(cents)

    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=job.model_url, api_key="none"))
    agent: Agent[None, str] = Agent(model, name="billing", tools=[charge_card])
    if job.shape == "nested":
        inner = agent

        @ls.tool(scope=True)
        async def billing(request: str) -> str:
            """Have the billing agent do it."""
            return (await inner.run(request)).output

        agent = Agent(model, name="shop", tools=[billing])
    if job.how == "own":
        return asyncio.run(_go_on(job, agent))
    if job.way == "async":
        return asyncio.run(_ask(agent, job.question))
    if job.way == "stream":
        return asyncio.run(_stream(agent, job.question))
    return agent.run_sync(job.question).output


async def _ask(agent: Agent[None, str], question: str) -> str:
    return (await agent.run(question)).output


async def _stream(agent: Agent[None, str], question: str) -> str:
    said = ""
    async with agent.run_stream(question) as result:
        async for piece in result.stream_text(delta=True, debounce_by=None):
            said += piece
    return said


async def _go_on(job: Job, agent: Agent[None, str]) -> str:
    begun: dict[str, Any] = {"user_prompt": job.question}
    if job.own.exists():
        begun = {"message_history": ModelMessagesTypeAdapter.validate_json(job.own.read_bytes())}
    async with agent.iter(**begun) as run:
        async for _ in run:
            job.own.write_bytes(ModelMessagesTypeAdapter.dump_json(run.all_messages()))
        assert run.result is not None
        return str(run.result.output)


if __name__ == "__main__":
    sys.exit(play(work))

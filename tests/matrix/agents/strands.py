"""The matrix's program in Strands: its OpenAIModel, an agent as a tool of another, FileSessionManager as its own."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import Any

from tests.matrix.agent import MODEL, Charging, Job, Unplayable, play


def work(job: Job, charge: Charging) -> str:
    """Ask the agent, or the one that asks it."""
    strands: Any = import_module("strands")
    models: Any = import_module("strands.models.openai")

    def charge_card(cents: int) -> str:
        """Charge the customer's card."""
        return charge(cents)

    client = {"base_url": job.model_url, "api_key": "none", "max_retries": 0}
    model = models.OpenAIModel(client_args=client, model_id=MODEL)
    own: dict[str, Any] = {}
    if job.how == "own":
        if job.shape == "nested":
            raise Unplayable("a session belongs to one agent")
        sessions: Any = import_module("strands.session.file_session_manager")
        own = {"session_manager": sessions.FileSessionManager(session_id="1", storage_dir=str(job.own))}
    agent = strands.Agent(model, tools=[strands.tool(charge_card)], callback_handler=None, **own)
    if job.shape == "nested":
        billing = agent.as_tool(name="billing", description="Have the billing agent do it.")
        agent = strands.Agent(model, tools=[billing], callback_handler=None)
    # A session that ends in the middle of a turn holds its question.
    question = job.question if not agent.messages else None
    if job.way == "plain":
        return str(agent(question))
    return asyncio.run(_streamed(agent, question) if job.way == "stream" else _asked(agent, question))


async def _asked(agent: Any, question: str | None) -> str:
    return str(await agent.invoke_async(question))


async def _streamed(agent: Any, question: str | None) -> str:
    return "".join([part["data"] async for part in agent.stream_async(question) if "data" in part])


if __name__ == "__main__":
    sys.exit(play(work))

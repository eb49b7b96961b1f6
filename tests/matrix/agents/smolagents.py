"""The matrix's program in smolagents: ToolCallingAgent and OpenAIModel. It has no checkpointer of its own."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from tests.matrix.agent import MODEL, Charging, Job, Unplayable, play
from tests.matrix.script import BILLING

smolagents: Any = import_module("smolagents")


def work(job: Job, charge: Charging) -> str:
    """Ask the agent, or the one that manages it."""
    if job.how == "own":
        raise Unplayable("smolagents keeps nothing from one process to the next")

    class ChargeCard(smolagents.Tool):  # type: ignore[misc]  # smolagents is not in the environment that is checked
        name = "charge_card"
        description = "Charge the customer's card."
        inputs = {"cents": {"type": "integer", "description": "How much."}}  # noqa: RUF012 - as upstream's own tools
        output_type = "string"

        def forward(self, cents: int) -> str:
            return charge(cents)

    # A client of its own would try again by itself where the server is held.
    model = smolagents.OpenAIModel(MODEL, job.model_url, "none", client_kwargs={"max_retries": 0})
    words = {"model": model, "verbosity_level": -1, "stream_outputs": job.way == "stream"}
    agent = smolagents.ToolCallingAgent([ChargeCard()], name=BILLING, description="Pays orders.", **words)
    if job.shape == "nested":
        agent = smolagents.ToolCallingAgent([], managed_agents=[agent], **words)
    if job.way == "stream":
        return str(list(agent.run(job.question, stream=True))[-1].output)
    return str(agent.run(job.question))


if __name__ == "__main__":
    sys.exit(play(work))

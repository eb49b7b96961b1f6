"""The matrix's program in crewAI: a crew of one task, its LLM speaking to OpenAI's interface."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import import_module
from typing import Any

from tests.matrix.agent import MODEL, Charging, Job, Unplayable, play
from tests.matrix.script import BILLING, question

# It would tell its makers of each run, and ask a person to let it.
os.environ.update(CREWAI_DISABLE_TELEMETRY="true", CREWAI_TRACING_ENABLED="false", CREWAI_TESTING="true")


def work(job: Job, charge: Charging) -> str:
    """Have the agent do the task, or the one that hands it on."""
    if job.how == "own":
        raise Unplayable("its checkpoints hold no tools that are functions")
    os.environ["CREWAI_STORAGE_DIR"] = str(job.own)
    crewai: Any = import_module("crewai")

    def charge_card(cents: int) -> str:
        """Charge the customer's card."""
        return charge(cents)

    model = crewai.LLM(
        model=f"openai/{MODEL}", base_url=job.model_url, api_key="none", max_retries=0, stream=job.way == "stream"
    )
    words = {"goal": "Get orders paid.", "backstory": "An agent.", "llm": model}
    # Work is handed to a coworker by the role, for which the matrix's model says what it says of all parameters.
    agent = crewai.Agent(role=question("once"), tools=[import_module("crewai.tools").tool(charge_card)], **words)
    if job.shape == "nested":
        delegating: Any = import_module("crewai.tools.agent_tools.delegate_work_tool").DelegateWorkTool
        billing = delegating(name=BILLING, description="Have a coworker do it.", agents=[agent])
        agent = crewai.Agent(role="Boss", tools=[billing], **words)
    task = crewai.Task(description=job.question, expected_output="what was done", agent=agent)
    crew = crewai.Crew(agents=[agent], tasks=[task], memory=False, tracing=False, stream=job.way == "stream")
    if job.way == "async":
        return str(asyncio.run(crew.akickoff()).raw)
    if job.way == "stream":
        streaming = crew.kickoff()
        for _ in streaming:
            pass
        return str(streaming.result.raw)
    return str(crew.kickoff().raw)


if __name__ == "__main__":
    sys.exit(play(work))

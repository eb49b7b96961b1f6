"""The matrix's program in Google ADK: its Gemini client, AgentTool, and a resumable app over SQLite as its own."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import import_module
from typing import Any, Final

from tests.matrix.agent import MODEL, Charging, Job, play

_ABOUT: Final = {"user_id": "u", "session_id": "s"}


def work(job: Job, charge: Charging) -> str:
    """Ask the agent, or the one that asks it."""
    os.environ["GOOGLE_API_KEY"] = "none"
    adk: Any = import_module("google.adk.agents")
    models: Any = import_module("google.adk.models")
    tools: Any = import_module("google.adk.tools")

    def charge_card(cents: int) -> str:
        """Charge the customer's card."""
        return charge(cents)

    model = models.Gemini(model=MODEL, base_url=job.server_url)
    agent = adk.LlmAgent(name="clerk", model=model, tools=[charge_card])
    if job.shape == "nested":
        inner = adk.LlmAgent(name="billing", model=model, tools=[charge_card], description="Does the billing.")
        agent = adk.LlmAgent(name="clerk", model=model, tools=[tools.AgentTool(inner)])
    runner = _runner(job, agent)
    asked = asyncio.run(_question(job, runner))
    if job.way == "plain" and "invocation_id" not in asked:
        return _text(list(runner.run(**asked)))
    return asyncio.run(_answered(job, runner, asked))


def _runner(job: Job, agent: Any) -> Any:
    runners: Any = import_module("google.adk.runners")
    if job.how != "own":
        return runners.InMemoryRunner(agent=agent, app_name="matrix")
    apps: Any = import_module("google.adk.apps.app")
    sessions: Any = import_module("google.adk.sessions.sqlite_session_service")
    resumable = apps.ResumabilityConfig(is_resumable=True)
    app = apps.App(name="matrix", root_agent=agent, resumability_config=resumable)
    return runners.Runner(app=app, session_service=sessions.SqliteSessionService(str(job.own)))


async def _question(job: Job, runner: Any) -> dict[str, Any]:
    """Return what a runner is asked: to answer, or to go on with the invocation that its session holds."""
    types: Any = import_module("google.genai.types")
    held = await runner.session_service.get_session(app_name="matrix", **_ABOUT)
    if held is not None and held.events:
        return {**_ABOUT, "invocation_id": held.events[-1].invocation_id}
    if held is None:
        await runner.session_service.create_session(app_name="matrix", **_ABOUT)
    return {**_ABOUT, "new_message": types.Content(role="user", parts=[types.Part(text=job.question)])}


async def _answered(job: Job, runner: Any, asked: dict[str, Any]) -> str:
    config: Any = import_module("google.adk.agents.run_config")
    mode = config.StreamingMode.SSE if job.way == "stream" else config.StreamingMode.NONE
    events = [event async for event in runner.run_async(run_config=config.RunConfig(streaming_mode=mode), **asked)]
    if job.way == "stream":
        pieces = [_text([event]) for event in events if event.partial]
        assert _text(events) == "".join(pieces)
    return _text(events)


def _text(events: list[Any]) -> str:
    spoken = [event for event in events if event.content is not None]
    return "".join(part.text or "" for part in spoken[-1].content.parts)


if __name__ == "__main__":
    sys.exit(play(work))

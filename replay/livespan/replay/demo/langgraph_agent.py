"""The LangGraph agent: `create_agent` with OpenAI's client, and `ls.instrument()`. One process is one life of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, cast

from langchain.agents import create_agent  # pyright: ignore[reportUnknownVariableType]  # some parameters lack types
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage, messages_to_dict
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import livespan.instrumentation as ls
from livespan.replay.demo.agent_process import run_agent
from livespan.replay.demo.job import Job, Outcome
from livespan.replay.demo.order import QUESTION, charging, check_stock, in_doubt, look_up_order
from livespan.replay.demo.points import Point, Points
from livespan.replay.testing.model_server import LABEL_HEADER


def work(job: Job, points: Points) -> Outcome:
    """Handle the order, or go on with it where the record ends."""
    ls.instrument(
        effects={"look_up_order": False, "check_stock": False},
        in_doubt={"charge_card": in_doubt(job)},
    )
    model = ChatOpenAI(
        model="livespan-test-model",
        base_url=job.model_url,
        api_key=SecretStr("not needed"),
        default_headers={LABEL_HEADER: job.run_id},
        max_retries=0,
    )
    # Its type is unknown in part; what is used of it is said in _messages.
    agent = cast("Any", create_agent(model, [look_up_order, check_stock, charging(job, points)]))
    answer = ""
    with ls.run(job.run_id, home=job.home) as run:
        # Without restore(): the graph runs from its top, and what is recorded answers at once.
        steps = agent.stream({"messages": [{"role": "user", "content": QUESTION}]}, stream_mode="updates")
        for message in _messages(steps):
            if isinstance(message, AIMessage):
                answer = str(message.content)
                if any(call["name"] == "charge_card" for call in message.tool_calls):
                    points.reach(Point.BEFORE)
            elif isinstance(message, ToolMessage) and message.name == "charge_card":
                points.reach(Point.AFTER)
            ls.checkpoint(json.dumps(messages_to_dict([message])).encode())
        return Outcome(answer, run.attempt, run.reused, run.executed)


def _messages(steps: Iterator[dict[str, Any]]) -> Iterator[AnyMessage]:
    """Yield each message as the node that made it ends."""
    for step in steps:
        for update in step.values():
            yield from cast("list[AnyMessage]", update["messages"])


if __name__ == "__main__":
    sys.exit(run_agent(work))

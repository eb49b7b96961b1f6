"""The decorated agent: plain Python, a plain HTTP client, `@step` and `@tool`. One process is one life of it."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from typing import Final, cast

import livespan.instrumentation as ls
from livespan.replay.demo.agent_process import run_agent
from livespan.replay.demo.job import Job, Outcome
from livespan.replay.demo.order import QUESTION, Json, charging, check_stock, in_doubt, look_up_order
from livespan.replay.demo.points import Point, Points
from livespan.replay.testing.model_server import LABEL_HEADER

_CALL_S: Final = 60.0
_MODEL: Final = "livespan-test-model"
_NAMES: Final = ("look_up_order", "check_stock", "charge_card")


def work(job: Job, points: Points) -> Outcome:
    """Handle the order, or go on with it where the record ends."""
    return asyncio.run(_handle_order(job, points))


async def _handle_order(job: Job, points: Points) -> Outcome:
    async with ls.run(job.run_id, home=job.home) as run:
        return await _Agent(job, points).work(run)


class _Agent:
    """One life of the agent: its steps and tools, decorated."""

    def __init__(self, job: Job, points: Points) -> None:
        self._points = points
        self._look_up = ls.tool(effect=False)(look_up_order)
        self._check_stock = ls.tool(effect=False)(check_stock)
        self._charge_card = ls.tool(in_doubt=in_doubt(job))(charging(job, points))

        @ls.step
        def think(messages: list[Json]) -> Json:
            answer, usage = _ask(job, messages)
            ls.annotate(
                model=_MODEL, input_tokens=int(usage["prompt_tokens"]), output_tokens=int(usage["completion_tokens"])
            )
            if len(messages) > 1:
                points.reach(Point.ANSWER)
            return answer

        self._think = think

    async def work(self, run: ls.Run) -> Outcome:
        """Go on from the last checkpoint, if there is one, until the model asks for no more tools."""
        state = run.restore()
        messages: list[Json] = json.loads(state) if state else [{"role": "user", "content": QUESTION}]
        while True:
            answer = self._think(messages)
            messages.append(answer)
            if not answer.get("tool_calls"):
                return Outcome(str(answer["content"]), run.attempt, run.reused, run.executed, bool(state))
            # The tools that one answer asks for run at once, each as a task: a branch of the run.
            messages += await asyncio.gather(*(self._call(wanted) for wanted in answer["tool_calls"]))
            ls.checkpoint(json.dumps(messages).encode())

    async def _call(self, wanted: Json) -> Json:
        """Run one tool and return its message."""
        arguments = json.loads(wanted["function"]["arguments"])
        result: object
        match wanted["function"]["name"]:
            case "look_up_order":
                result = self._look_up(str(arguments["order_id"]))
            case "check_stock":
                result = self._check_stock(str(arguments["order_id"]))
            case _:
                self._points.reach(Point.BEFORE)
                result = self._charge_card(int(arguments["cents"]))
                self._points.reach(Point.AFTER)
        return {"role": "tool", "tool_call_id": wanted["id"], "content": json.dumps(result)}


def _ask(job: Job, messages: list[Json]) -> tuple[Json, Json]:
    """Ask the model what comes next; return its message, and what it used."""
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in _NAMES]
    body = json.dumps({"model": _MODEL, "messages": messages, "tools": tools}).encode()
    headers = {"content-type": "application/json", LABEL_HEADER: job.run_id}
    # The model is on loopback: a proxy of the environment must not be asked for it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"{job.model_url}/chat/completions"
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - an http address that the demo itself made
    with opener.open(request, timeout=_CALL_S) as answer:
        told = json.loads(answer.read())
    return cast("Json", told["choices"][0]["message"]), cast("Json", told["usage"])


if __name__ == "__main__":
    sys.exit(run_agent(work))

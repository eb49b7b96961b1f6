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
_NAMES: Final = ("look_up_order", "check_stock", "charge_card")


def work(job: Job, points: Points) -> Outcome:
    """Handle the order, or go on with it where the record ends."""
    return asyncio.run(_handle_order(job, points))


async def _handle_order(job: Job, points: Points) -> Outcome:
    look_up, stock = ls.tool(effect=False)(look_up_order), ls.tool(effect=False)(check_stock)
    charge_card = ls.tool(in_doubt=in_doubt(job))(charging(job, points))

    @ls.step
    def think(messages: list[Json]) -> Json:
        answer = _ask(job, messages)
        if len(messages) > 1:
            points.reach(Point.ANSWER)
        return answer

    async def call(wanted: Json) -> Json:
        arguments = json.loads(wanted["function"]["arguments"])
        result: object
        match wanted["function"]["name"]:
            case "look_up_order":
                result = look_up(**arguments)
            case "check_stock":
                result = stock(**arguments)
            case _:
                points.reach(Point.BEFORE)
                result = await asyncio.to_thread(charge_card, int(arguments["cents"]))
                points.reach(Point.AFTER)
        return {"role": "tool", "tool_call_id": wanted["id"], "content": json.dumps(result)}

    async with ls.run(job.run_id, home=job.home) as run:
        state = run.restore()
        messages: list[Json] = json.loads(state) if state else [{"role": "user", "content": QUESTION}]
        while True:
            answer = think(messages)
            messages.append(answer)
            if not answer.get("tool_calls"):
                break
            # The tools that one answer asks for run at once, each as a task: a branch of the run.
            messages += await asyncio.gather(*(call(wanted) for wanted in answer["tool_calls"]))
            ls.checkpoint(json.dumps(messages).encode())
        return Outcome(str(answer["content"]), run.attempt, run.reused, run.executed, bool(state))


def _ask(job: Job, messages: list[Json]) -> Json:
    """Ask the model what comes next."""
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in _NAMES]
    body = json.dumps({"model": "livespan-test-model", "messages": messages, "tools": tools}).encode()
    headers = {"content-type": "application/json", LABEL_HEADER: job.run_id}
    # The model is on loopback: a proxy of the environment must not be asked for it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"{job.model_url}/chat/completions"
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - an http address that the demo itself made
    with opener.open(request, timeout=_CALL_S) as answer:
        return cast("Json", json.loads(answer.read())["choices"][0]["message"])


if __name__ == "__main__":
    sys.exit(run_agent(work))

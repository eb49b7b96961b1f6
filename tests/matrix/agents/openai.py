"""The matrix's program on the OpenAI client alone: a loop that asks the model, runs the tools it asks for, asks again.

plain and stream speak chat completions; async speaks responses, and runs the tools of one answer beside each other.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import openai
from tests.matrix.agent import MODEL, Charging, Job, Unplayable, in_doubt, play

import livespan.instrumentation as ls


def work(job: Job, charge: Charging) -> str:
    """Ask the model, or one whose tool asks another."""
    if job.how == "own":
        raise Unplayable("the client has no checkpointer")
    return asyncio.run(_responses(job, charge)) if job.way == "async" else _chat(job, charge)


def _chat(job: Job, charge: Charging) -> str:
    @ls.tool(in_doubt=in_doubt(job))
    def charge_card(cents: int) -> str:
        return charge(cents)

    made: Any = openai.OpenAI(base_url=job.model_url, api_key="none", max_retries=0)
    with made as client:

        @ls.tool(scope=True)
        def billing(request: str) -> str:
            return ask(request, {"charge_card": charge_card})

        def ask(question: str, tools: Mapping[str, Callable[..., str]]) -> str:
            messages: list[Any] = [{"role": "user", "content": question}]
            while True:
                words: Any = {"model": MODEL, "messages": messages, "tools": [_function(name) for name in tools]}
                if job.way == "stream":
                    with client.chat.completions.stream(**words) as stream:
                        completion: Any = stream.get_final_completion()
                else:
                    completion = client.chat.completions.create(**words)
                answer = completion.choices[0].message
                if not answer.tool_calls:
                    return str(answer.content)
                messages.append(answer)
                for call in answer.tool_calls:
                    result = tools[call.function.name](**json.loads(call.function.arguments))
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})

        return ask(job.question, {"billing": billing} if job.shape == "nested" else {"charge_card": charge_card})


async def _responses(job: Job, charge: Charging) -> str:
    @ls.tool(in_doubt=in_doubt(job))
    async def charge_card(cents: int) -> str:
        return await asyncio.to_thread(charge, cents)

    made: Any = openai.AsyncOpenAI(base_url=job.model_url, api_key="none", max_retries=0)
    async with made as client:

        @ls.tool(scope=True)
        async def billing(request: str) -> str:
            return await ask(request, {"charge_card": charge_card})

        async def ask(question: str, tools: Mapping[str, Callable[..., Awaitable[str]]]) -> str:
            items: list[Any] = [{"role": "user", "content": question}]
            while True:
                offered: Any = [{"type": "function", **_function(name)["function"]} for name in tools]
                answer = await client.responses.create(model=MODEL, input=items, tools=offered)
                calls = [item for item in answer.output if item.type == "function_call"]
                if not calls:
                    return str(answer.output_text)
                items += answer.output
                results = await asyncio.gather(*[tools[call.name](**json.loads(call.arguments)) for call in calls])
                items += [
                    {"type": "function_call_output", "call_id": call.call_id, "output": result}
                    for call, result in zip(calls, results, strict=True)
                ]

        return await ask(job.question, {"billing": billing} if job.shape == "nested" else {"charge_card": charge_card})


def _function(name: str) -> dict[str, Any]:
    word, kind = ("request", "string") if name == "billing" else ("cents", "integer")
    schema = {"type": "object", "properties": {word: {"type": kind}}, "required": [word]}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


if __name__ == "__main__":
    sys.exit(play(work))

"""The matrix's program on the Anthropic client alone: a loop that asks the model, runs its tools, and asks again.

async runs the tools of one answer beside each other.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anthropic
from tests.matrix.agent import MODEL, Charging, Job, Unplayable, in_doubt, play

import livespan.instrumentation as ls


def work(job: Job, charge: Charging) -> str:
    """Ask the model, or one whose tool asks another."""
    if job.how == "own":
        raise Unplayable("the client has no checkpointer")
    return asyncio.run(_asynchronous(job, charge)) if job.way == "async" else _synchronous(job, charge)


def _synchronous(job: Job, charge: Charging) -> str:
    @ls.tool(in_doubt=in_doubt(job))
    def charge_card(cents: int) -> str:
        return charge(cents)

    made: Any = anthropic.Anthropic(base_url=job.server_url, api_key="none", max_retries=0)
    with made as client:

        @ls.tool(scope=True)
        def billing(request: str) -> str:
            return ask(request, {"charge_card": charge_card})

        def ask(question: str, tools: Mapping[str, Callable[..., str]]) -> str:
            messages: list[Any] = [{"role": "user", "content": question}]
            while True:
                if job.way == "stream":
                    with client.messages.stream(**_asked(messages, tools)) as stream:
                        answer: Any = stream.get_final_message()
                else:
                    answer = client.messages.create(**_asked(messages, tools))
                calls = [block for block in answer.content if block.type == "tool_use"]
                if not calls:
                    return _text(answer)
                _add(messages, answer, calls, [tools[call.name](**call.input) for call in calls])

        return ask(job.question, {"billing": billing} if job.shape == "nested" else {"charge_card": charge_card})


async def _asynchronous(job: Job, charge: Charging) -> str:
    @ls.tool(in_doubt=in_doubt(job))
    async def charge_card(cents: int) -> str:
        return await asyncio.to_thread(charge, cents)

    made: Any = anthropic.AsyncAnthropic(base_url=job.server_url, api_key="none", max_retries=0)
    async with made as client:

        @ls.tool(scope=True)
        async def billing(request: str) -> str:
            return await ask(request, {"charge_card": charge_card})

        async def ask(question: str, tools: Mapping[str, Callable[..., Awaitable[str]]]) -> str:
            messages: list[Any] = [{"role": "user", "content": question}]
            while True:
                answer: Any = await client.messages.create(**_asked(messages, tools))
                calls = [block for block in answer.content if block.type == "tool_use"]
                if not calls:
                    return _text(answer)
                results = await asyncio.gather(*[tools[call.name](**call.input) for call in calls])
                _add(messages, answer, calls, results)

        return await ask(job.question, {"billing": billing} if job.shape == "nested" else {"charge_card": charge_card})


def _asked(messages: list[Any], tools: Mapping[str, object]) -> Any:
    return {"model": MODEL, "max_tokens": 500, "messages": messages, "tools": [_offered(name) for name in tools]}


def _offered(name: str) -> dict[str, Any]:
    word, kind = ("request", "string") if name == "billing" else ("cents", "integer")
    return {"name": name, "input_schema": {"type": "object", "properties": {word: {"type": kind}}, "required": [word]}}


def _add(messages: list[Any], answer: Any, calls: list[Any], results: list[str]) -> None:
    told = [
        {"type": "tool_result", "tool_use_id": call.id, "content": result}
        for call, result in zip(calls, results, strict=True)
    ]
    messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": told}]


def _text(answer: Any) -> str:
    return "".join(block.text for block in answer.content if block.type == "text")


if __name__ == "__main__":
    sys.exit(play(work))

"""Plain programs over the OpenAI and Anthropic clients: ask, run the tools that the answer asks for, ask again.

    Program("chat", "stream").run(server, label) -> the last text, and every answer as the client gave it

Tools are functions under `@ls.tool`, and count their bodies in `RAN`. Clients are `Any`: their words have more
overloads than a program that goes through all of them can be checked against.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import anthropic
import openai

import livespan.instrumentation as ls
from livespan.replay.testing import ModelServer
from livespan.replay.testing.model_server import LABEL_HEADER

__all__ = ["DIALECTS", "RAN", "WAYS", "Outcome", "Program", "anthropic_client", "openai_client"]

MODEL: Final = "livespan-test-model"
RAN: Final[Counter[str]] = Counter()
DIALECTS: Final = ("chat", "responses", "messages")
WAYS: Final = ("plain", "stream", "helper", "async", "async stream", "async helper")
"""helper: the client's own `stream()`, which puts the parts together."""


@ls.tool(effect=False)
def look_up_order(order_id: str) -> str:
    """Look up an order."""
    RAN["look_up_order"] += 1
    return f"{order_id}: a kettle"


@ls.tool(effect=False)
def check_stock(order_id: str) -> str:
    """Check the stock."""
    RAN["check_stock"] += 1
    return f"{order_id}: 3 left"


@ls.tool
def charge_card(cents: int) -> dict[str, object]:
    """Charge the card."""
    RAN["charge_card"] += 1
    return {"receipt": f"rc-{RAN['charge_card']}", "cents": cents}


TOOLS: Final[dict[str, tuple[Callable[..., Any], dict[str, Any]]]] = {
    "look_up_order": (look_up_order, {"order_id": {"type": "string"}}),
    "check_stock": (check_stock, {"order_id": {"type": "string"}}),
    "charge_card": (charge_card, {"cents": {"type": "integer"}}),
}


class Outcome(NamedTuple):
    """The last text, and every answer as the client gave it."""

    text: str
    answers: list[Any]


class _Asked(NamedTuple):
    """What a tool is asked: its name, its arguments, the id of the call."""

    name: str
    arguments: dict[str, Any]
    call_id: str


def openai_client(server: ModelServer, label: str = "agent", **more: Any) -> Any:
    """Return a client whose requests the server counts under `label`."""
    return openai.OpenAI(
        base_url=server.base_url, api_key="none", max_retries=0, default_headers={LABEL_HEADER: label}, **more
    )


def async_openai_client(server: ModelServer, label: str = "agent") -> Any:
    """As `openai_client`, asynchronous."""
    return openai.AsyncOpenAI(
        base_url=server.base_url, api_key="none", max_retries=0, default_headers={LABEL_HEADER: label}
    )


def anthropic_client(server: ModelServer, label: str = "agent") -> Any:
    """As `openai_client`, of Anthropic."""
    return anthropic.Anthropic(
        base_url=server.base_url[:-3], api_key="none", max_retries=0, default_headers={LABEL_HEADER: label}
    )


def async_anthropic_client(server: ModelServer, label: str = "agent") -> Any:
    """As `anthropic_client`, asynchronous."""
    return anthropic.AsyncAnthropic(
        base_url=server.base_url[:-3], api_key="none", max_retries=0, default_headers={LABEL_HEADER: label}
    )


@dataclass(frozen=True)
class Program:
    """One program: which API it speaks, and how it asks."""

    dialect: str
    way: str
    system: str = "You sell kettles."

    def run(self, server: ModelServer, label: str = "agent", question: str = "pay order-17") -> Outcome:
        """Run it to its end."""
        if self.way.startswith("async"):
            return asyncio.run(self._arun(server, label, question))
        with (anthropic_client if self.dialect == "messages" else openai_client)(server, label) as client:
            messages, answers = self._begun(question), list[Any]()
            while True:
                answers.append(self._ask(client, messages))
                said, asked = self._read(messages, answers[-1])
                if not asked:
                    return Outcome(said, answers)
                self._answer(messages, asked)

    async def _arun(self, server: ModelServer, label: str, question: str) -> Outcome:
        async with (async_anthropic_client if self.dialect == "messages" else async_openai_client)(
            server, label
        ) as client:
            messages, answers = self._begun(question), list[Any]()
            while True:
                answers.append(await self._aask(client, messages))
                said, asked = self._read(messages, answers[-1])
                if not asked:
                    return Outcome(said, answers)
                self._answer(messages, asked)

    def _begun(self, question: str) -> list[Any]:
        first = [{"role": "system", "content": self.system}] if self.dialect == "chat" else []
        return [*first, {"role": "user", "content": question}]

    def _words(self, messages: list[Any]) -> dict[str, Any]:
        schemas = {name: {"type": "object", "properties": parts} for name, (_, parts) in TOOLS.items()}
        if self.dialect == "chat":
            functions = [{"name": name, "parameters": schema} for name, schema in schemas.items()]
            tools: list[Any] = [{"type": "function", "function": function} for function in functions]
            return {"messages": list(messages), "tools": tools}
        if self.dialect == "responses":
            tools = [{"type": "function", "name": name, "parameters": schema} for name, schema in schemas.items()]
            return {"input": list(messages), "tools": tools, "instructions": self.system}
        tools = [{"name": name, "input_schema": schema} for name, schema in schemas.items()]
        return {"messages": list(messages), "tools": tools, "system": self.system, "max_tokens": 500}

    def _door(self, client: Any) -> Any:
        return {
            "chat": lambda: client.chat.completions,
            "responses": lambda: client.responses,
            "messages": lambda: client.messages,
        }[self.dialect]()

    def _ask(self, client: Any, messages: list[Any]) -> Any:
        door, words = self._door(client), {"model": MODEL, **self._words(messages)}
        if self.way == "plain":
            return door.create(**words)
        if self.way == "stream":
            return list(door.create(**words, stream=True))
        with door.stream(**words) as stream:
            for _ in stream:
                pass
            return self._final(stream)

    async def _aask(self, client: Any, messages: list[Any]) -> Any:
        door, words = self._door(client), {"model": MODEL, **self._words(messages)}
        if self.way == "async":
            return await door.create(**words)
        if self.way == "async stream":
            return [part async for part in await door.create(**words, stream=True)]
        async with door.stream(**words) as stream:
            async for _ in stream:
                pass
            return await self._final(stream)

    def _final(self, stream: Any) -> Any:
        word = {"chat": "completion", "responses": "response", "messages": "message"}[self.dialect]
        return getattr(stream, f"get_final_{word}")()

    def _read(self, messages: list[Any], answer: Any) -> tuple[str, list[_Asked]]:
        """Add an answer to the conversation; return its text, and what it asks for."""
        if isinstance(answer, list):
            return getattr(self, f"_read_{self.dialect}_parts")(messages, answer)  # type: ignore[no-any-return]
        if self.dialect == "chat":
            message = answer.choices[0].message
            messages.append(message)
            calls: list[Any] = message.tool_calls or []
            return message.content or "", [
                _Asked(one.function.name, json.loads(one.function.arguments), one.id) for one in calls
            ]
        if self.dialect == "responses":
            messages.extend(answer.output)
            calls = [item for item in answer.output if item.type == "function_call"]
            return answer.output_text, [_Asked(one.name, json.loads(one.arguments), one.call_id) for one in calls]
        messages.append({"role": "assistant", "content": answer.content})
        texts = "".join(block.text for block in answer.content if block.type == "text")
        return texts, [_Asked(one.name, one.input, one.id) for one in answer.content if one.type == "tool_use"]

    def _read_chat_parts(self, messages: list[Any], parts: list[Any]) -> tuple[str, list[_Asked]]:
        text, calls = "", dict[int, dict[str, str]]()
        for delta in [part.choices[0].delta for part in parts if part.choices]:
            text += delta.content or ""
            for one in delta.tool_calls or ():
                call = calls.setdefault(one.index, {"id": one.id, "name": one.function.name, "arguments": ""})
                call["arguments"] += one.function.arguments
        asked = [_Asked(call["name"], json.loads(call["arguments"]), call["id"]) for call in calls.values()]
        functions = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in calls.values()
        ]
        messages.append({"role": "assistant", "content": text or None, **({"tool_calls": functions} if asked else {})})
        return text, asked

    def _read_responses_parts(self, messages: list[Any], parts: list[Any]) -> tuple[str, list[_Asked]]:
        assert parts[-1].type == "response.completed"
        return self._read(messages, parts[-1].response)

    def _read_messages_parts(self, messages: list[Any], parts: list[Any]) -> tuple[str, list[_Asked]]:
        assert parts[-1].type == "message_stop"
        blocks = dict[int, dict[str, Any]]()
        for part in parts:
            if part.type == "content_block_start":
                blocks[part.index] = {**part.content_block.model_dump(exclude_unset=True), "said": ""}
            elif part.type == "content_block_delta":
                blocks[part.index]["said"] += getattr(part.delta, "text", None) or part.delta.partial_json
        content: list[Any] = []
        for block in blocks.values():
            said = block.pop("said")
            content.append({**block, "text": said} if block["type"] == "text" else {**block, "input": json.loads(said)})
        messages.append({"role": "assistant", "content": content})
        texts = "".join(block.get("text", "") for block in content)
        return texts, [_Asked(one["name"], one["input"], one["id"]) for one in content if one["type"] == "tool_use"]

    def _answer(self, messages: list[Any], asked: list[_Asked]) -> None:
        """Run the tools, and add what they say to the conversation."""
        results: list[Any] = []
        for name, arguments, call_id in asked:
            done = TOOLS[name][0](**arguments)
            text = done if isinstance(done, str) else json.dumps(done)
            if self.dialect == "chat":
                results.append({"role": "tool", "tool_call_id": call_id, "content": text})
            elif self.dialect == "responses":
                results.append({"type": "function_call_output", "call_id": call_id, "output": text})
            else:
                results.append({"type": "tool_result", "tool_use_id": call_id, "content": text})
        if self.dialect == "messages":
            messages.append({"role": "user", "content": results})
        else:
            messages.extend(results)

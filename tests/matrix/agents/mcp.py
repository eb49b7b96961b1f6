"""The matrix's program with its tool in another process: an MCP server over stdio, asked by `tools/call`.

The model is asked by the plain OpenAI client. async calls the tools of one answer beside each other. The charge is
made in the server's process, under the key that came with the request; killing the agent leaves the server to end by
itself, at the end of its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import msgspec
import openai
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from tests.matrix.agent import MODEL, Charging, Job, Unplayable, charge_under, play

from livespan.instrumentation.frameworks.mcp_tools import KEY

_SERVE = "--serve"


def work(job: Job, charge: Charging) -> str:
    """Ask the model, and its tools of the server."""
    del charge
    if job.how == "own":
        raise Unplayable("the client has no checkpointer")
    return asyncio.run(_asked(job))


async def _asked(job: Job) -> str:
    command = ["-m", __spec__.name if __spec__ is not None else "", _SERVE, msgspec.json.encode(job).decode()]
    server = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))
    made: Any = openai.AsyncOpenAI(base_url=job.model_url, api_key="none", max_retries=0)
    async with (
        stdio_client(server) as (read, write),
        ClientSession(read, write) as session,
        made as client,
    ):
        await session.initialize()
        listed = (await session.list_tools()).tools
        functions = [{"name": tool.name, "parameters": tool.input_schema} for tool in listed]
        offered: Any = [{"type": "function", "function": function} for function in functions]
        messages: list[Any] = [{"role": "user", "content": job.question}]
        while True:
            completion = await client.chat.completions.create(model=MODEL, messages=messages, tools=offered)
            answer: Any = completion.choices[0].message
            if not answer.tool_calls:
                return str(answer.content)
            messages.append(answer)
            asked = [(call.function.name, json.loads(call.function.arguments)) for call in answer.tool_calls]
            if job.way == "async":
                results = await asyncio.gather(*[session.call_tool(name, given) for name, given in asked])
            else:
                results = [await session.call_tool(name, given) for name, given in asked]
            for call, result in zip(answer.tool_calls, results, strict=True):
                text = "".join(block.text for block in result.content if block.type == "text")
                messages.append({"role": "tool", "tool_call_id": call.id, "content": text})


def serve(job: Job) -> None:
    """Be the server of a life."""
    server, agent = MCPServer("provider"), os.getppid()

    @server.tool()
    def charge_card(cents: int, context: Context[Any]) -> str:
        """Charge the customer's card."""
        return charge_under(job, cents, str((context.request_context.meta or {}).get(KEY, "")), agent)

    server.run("stdio")


if __name__ == "__main__":
    if sys.argv[1] == _SERVE:
        serve(msgspec.json.decode(sys.argv[2], type=Job))
    else:
        sys.exit(play(work))

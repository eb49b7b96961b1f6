"""The matrix's program in LangGraph: `create_agent`, ChatOpenAI, and SqliteSaver as its own checkpointer."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from typing import Any, cast

from langchain.agents import create_agent  # pyright: ignore[reportUnknownVariableType]  # some parameters lack types
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite import SqliteSaver
from pydantic import SecretStr
from tests.matrix.agent import MODEL, Charging, Job, Unplayable, play

import livespan.instrumentation as ls


def work(job: Job, charge: Charging) -> str:
    """Ask the agent, or the one that asks it."""

    @tool
    def charge_card(cents: int) -> str:
        """Charge the customer's card."""
        return charge(cents)

    model = ChatOpenAI(model=MODEL, base_url=job.model_url, api_key=SecretStr("none"), max_retries=0)
    with ExitStack() as stack:
        saver = None
        if job.how == "own":
            if job.way == "async":
                raise Unplayable("SqliteSaver is synchronous")
            saver = stack.enter_context(SqliteSaver.from_conn_string(str(job.own)))
        agent = cast("Any", create_agent(model, [charge_card], checkpointer=saver if job.shape != "nested" else None))
        if job.shape == "nested":
            inner = agent

            @tool
            @ls.tool(scope=True)
            def billing(request: str) -> str:
                """Have the billing agent do it."""
                return _text(inner.invoke(_asked(request)))

            agent = cast("Any", create_agent(model, [billing], checkpointer=saver))
        return _ask(job, agent, {"configurable": {"thread_id": "1"}} if saver is not None else None)


def _ask(job: Job, agent: Any, config: Any) -> str:
    asked = _asked(job.question)
    if config is not None and agent.get_state(config).values:
        asked = None  # LangGraph's word for: go on where the saver stands
    if job.way == "async":
        return _text(asyncio.run(agent.ainvoke(asked, config)))
    if job.way == "stream":
        parts = [message for message, _ in agent.stream(asked, config, stream_mode="messages")]
        return "".join(part.text for part in parts if isinstance(part, AIMessage) and not part.tool_calls)
    return _text(agent.invoke(asked, config))


def _asked(question: str) -> Any:
    return {"messages": [{"role": "user", "content": question}]}


def _text(state: Any) -> str:
    return str(state["messages"][-1].text)


if __name__ == "__main__":
    sys.exit(play(work))

"""A LangGraph agent that knows nothing of Livespan: `python unchanged_agent.py MODEL_URL FOLDER`.

It charges once, and dies in its first life when it has read that the charge was made.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, cast

from langchain.agents import create_agent  # pyright: ignore[reportUnknownVariableType]  # some parameters lack types
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr


def main(url: str, folder: Path) -> None:
    """Handle the order."""

    @tool
    def look_up_order(order_id: str) -> str:
        """Look up an order."""
        return f"{order_id}: a kettle"

    @tool
    def check_stock(order_id: str) -> str:
        """Check the stock."""
        return f"{order_id}: 3 left"

    @tool
    def charge_card(cents: int) -> str:
        """Charge the customer's card."""
        with (folder / "charges").open("a") as file:
            file.write(f"{cents}\n")
        return f"charged {cents}"

    model = ChatOpenAI(model="livespan-test-model", base_url=url, api_key=SecretStr("none"), max_retries=0)
    agent = cast("Any", create_agent(model, [look_up_order, check_stock, charge_card]))
    last: Any = None
    for state in agent.stream({"messages": [("user", "pay order-17")]}, stream_mode="values"):
        last = state["messages"][-1]
        if isinstance(last, ToolMessage) and last.name == "charge_card" and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    print(last.text)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

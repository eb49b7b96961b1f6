"""What the model of the weather agent answers: a tool call where nobody told it the weather yet, then a text."""

from __future__ import annotations

from livespan.replay.testing.script import Conversation, Reply, ToolCall

__all__ = ["weather_script"]


def weather_script(conversation: Conversation) -> Reply:
    """Ask for the weather where a tool is offered, and quote what the tool said."""
    last = conversation.messages[-1]
    if conversation.tools and last.role == "user":
        return Reply(tool_calls=(ToolCall("get_weather", {"city": "Paris", "days": 2}),))
    return Reply(text=f"They say: {last.text}")

"""What the model of a test or demo answers: a script is a function from a conversation to a reply.

    conversation (messages, names of the tools offered)  ->  Reply(text)  or  Reply(tool_calls)

A script knows nothing of HTTP, of ids or of counting: the server gives tool calls their ids
(chat_wire.py) and counts answers (traffic.py). `order_script` is a pure function of the
conversation; `plain_script` is not, and that is its purpose: it puts a fresh nonce in each
answer, so that an answer that was asked for twice can be seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from livespan.proto.clock import random_hex

__all__ = [
    "Conversation",
    "Message",
    "Reply",
    "Script",
    "ToolCall",
    "demo_script",
    "order_script",
    "plain_script",
]

Role = Literal["assistant", "developer", "system", "tool", "user"]

DEFAULT_ORDER: Final = "order-17"
CHARGE_CENTS: Final = 4200
_ORDER_NAME: Final = re.compile(r"\b[A-Za-z]+-\d+\b")
_NONCE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model asks for. An empty `call_id` is filled in by the server."""

    name: str
    arguments: Mapping[str, object]
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, its content flattened to text."""

    role: Role
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request asks: its messages, the names of the tools it offers, and those of each one's parameters."""

    messages: tuple[Message, ...]
    tools: tuple[str, ...] = ()
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def turn(self) -> Sequence[Message]:
        """Return the messages since the last one of a user, that one included."""
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index].role == "user":
                return self.messages[index:]
        return self.messages


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model: text, or tool calls, or both."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = field(default=())


class Script(Protocol):
    """Decides the next answer. It is called from several threads at once, once per request."""

    def __call__(self, conversation: Conversation, /) -> Reply: ...


def order_script(conversation: Conversation) -> Reply:
    """Handle an order: two reads at once, then one charge, then a text that quotes its result.

    The order's name is the first word like `order-17` of the user's message.
    """
    turn = conversation.turn()
    match = _ORDER_NAME.search(turn[0].text) if turn else None
    order = match.group() if match else DEFAULT_ORDER
    asked = sum(1 for message in turn if message.role == "assistant" and message.tool_calls)
    if asked == 0:
        reads = (
            ToolCall("look_up_order", {"order_id": order}),
            ToolCall("check_stock", {"order_id": order}),
        )
        return Reply(tool_calls=reads)
    if asked == 1:
        return Reply(tool_calls=(ToolCall("charge_card", {"cents": CHARGE_CENTS}),))
    last = turn[-1]
    outcome = last.text if last.role == "tool" else "nothing more to do"
    return Reply(text=f"{order} is paid: {outcome}")


def plain_script(conversation: Conversation) -> Reply:
    """Answer the last message with a text that holds a nonce no other answer has."""
    question = conversation.turn()[0].text if conversation.messages else ""
    return Reply(text=f"answer {random_hex(_NONCE_BYTES)} to: {question}")


def demo_script(conversation: Conversation) -> Reply:
    """Play `order_script` where tools are offered and `plain_script` where none are."""
    return order_script(conversation) if conversation.tools else plain_script(conversation)

"""What tests of agents need: a model that can be counted and held, a provider with a ledger.

    ModelServer    an OpenAI-compatible model on threads of this process       model_server.py
    ModelProcess   the same as a process of its own, and its controls          model_process.py
    order_script   what it answers; a script is a function                     script.py
    charge, read   a payment provider that is a file                           ledger.py

None of it imports an agent framework. The limits of each are in its module's docstring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from livespan.replay.testing.ledger import Charge, Ledger, Try, charge, find, read
from livespan.replay.testing.model_process import ModelControl, ModelProcess
from livespan.replay.testing.script import (
    Conversation,
    Message,
    Reply,
    Script,
    ToolCall,
    demo_script,
    order_script,
    plain_script,
)
from livespan.replay.testing.traffic import Counts

if TYPE_CHECKING:
    from livespan.replay.testing.model_server import ModelServer

__all__ = [
    "Charge",
    "Conversation",
    "Counts",
    "Ledger",
    "Message",
    "ModelControl",
    "ModelProcess",
    "ModelServer",
    "Reply",
    "Script",
    "ToolCall",
    "Try",
    "charge",
    "demo_script",
    "find",
    "order_script",
    "plain_script",
    "read",
]


def __getattr__(name: str) -> object:
    # Loaded when asked for: `python -m` warns of a module that its package has imported already.
    if name == "ModelServer":
        from livespan.replay.testing.model_server import ModelServer

        return ModelServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

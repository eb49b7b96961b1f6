"""What the model of the crash matrix answers. The first word of the question says which shape is played:

once   charge_card, then a text                      thrice   three charges of different amounts in one answer
twice  two equal charges in one answer               nested   an agent asks another, whose work is `once`
"""

from __future__ import annotations

from typing import Final

from livespan.replay.testing import Conversation, Reply, ToolCall

__all__ = ["BILLING", "CHARGES", "matrix_script", "question"]

CHARGES: Final = {"once": (4200,), "thrice": (4200, 4300, 4400), "twice": (4200, 4200), "nested": (4200,)}
BILLING: Final = "billing"
"""What the inner agent is called, as a tool of the outer one."""
FINAL: Final = "final_answer"
"""The tool by which an agent of smolagents answers. It tells its model of earlier calls and their results as text."""
_OBSERVED: Final = "Observation:"
_OPTIONAL: Final = ("additional_args",)
"""What an agent that is called as a tool takes beside its task."""


def question(shape: str) -> str:
    """Return what the agent is asked."""
    return f"{shape}: please pay order-17."


def matrix_script(conversation: Conversation) -> Reply:
    """Play a shape: one answer that asks for tools, one that quotes what the last of them said."""
    turn = conversation.turn()
    if turn and FINAL in conversation.tools and _OBSERVED in turn[-1].text:
        said = turn[-1].text.partition(_OBSERVED)[2].strip()
        return Reply(tool_calls=(ToolCall(FINAL, {"answer": f"order-17 is paid: {said}"}),))
    asked = any(message.tool_calls for message in turn)
    inner = next((name for name in conversation.tools if BILLING in name), None)
    if asked:
        return Reply(text=f"order-17 is paid: {turn[-1].text}")
    if inner is not None:
        words = [word for word in conversation.parameters.get(inner, ()) if word not in _OPTIONAL] or ["input"]
        return Reply(tool_calls=(ToolCall(inner, {word: question("once") for word in words}),))
    shape = next((shape for shape in CHARGES if shape in turn[0].text), "once") if turn else "once"
    return Reply(tool_calls=tuple(ToolCall("charge_card", {"cents": cents}) for cents in CHARGES[shape]))

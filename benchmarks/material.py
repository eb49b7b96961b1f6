"""What is recorded in the benchmarks: texts, states and message lists that look like an agent's, the same in every
run.
"""

from __future__ import annotations

import json
import random
import time
from typing import Final

__all__ = ["KB", "busy", "messages", "state", "texts"]

KB: Final = 1024
_SENTENCE: Final = (
    "the order was placed on monday and the customer asks whether delivery can be moved to thursday because nobody is "
    "at home until then please check the warehouse for a second parcel refund one item and send a short confirmation"
)


def texts(count: int, size: int = KB) -> list[str]:
    """Return `count` different texts of `size` characters each."""
    source = random.Random(17)
    known = _SENTENCE.split()
    found: list[str] = []
    for number in range(count):
        words = [f"{number}:"]
        length = len(words[0])
        while length < size:
            words.append(source.choice(known))
            length += len(words[-1]) + 1
        found.append(" ".join(words)[:size])
    return found


def messages(size: int = 50 * KB) -> list[dict[str, str]]:
    """Return a conversation whose JSON is about `size` bytes: messages of 1 KB."""
    each = texts(size // (KB + 40), KB)
    return [{"role": "user" if number % 2 else "assistant", "content": text} for number, text in enumerate(each)]


def state(size: int = 50 * KB) -> bytes:
    """Return the state of an agent with such a conversation: JSON, cut to `size` bytes exactly."""
    return json.dumps({"messages": messages(size + 2 * KB)}).encode()[:size]


def busy(seconds: float) -> None:
    """Do what an agent's own Python does between two calls: use the processor, and push others out of its caches."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        json.dumps({str(number): number for number in range(20)})

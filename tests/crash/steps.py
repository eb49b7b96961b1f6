"""What an agent of the kill tests does: steps drawn from a seed, the same in every life of a run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

__all__ = ["SHAPES", "Branch", "Step", "branches_of"]

SHAPES: Final = ("single", "threads8", "asyncio", "fork")
"""`restore` is `single` that goes on from its newest checkpoint; several processes are several `single` on one home."""

_SIZES: Final = {"single": (1, 34), "restore": (1, 34), "threads8": (8, 7), "asyncio": (5, 8), "fork": (3, 12)}
_KINDS: Final = (
    "think",
    "think",
    "think",
    "read",
    "recall",
    "pay_fail",
    "pay_fail",
    "pay_retry",
    "pay_probe",
    "note",
    "note",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        kind: think (PROMPT), read (a tool without effect), recall (MEMORY), pay_* (an effect, by its in-doubt policy),
            note (a checkpoint).
        size_bytes: of the answer or the state; above 16 KB it goes to the content table.
        pace_s: how long it takes.
    """

    kind: str
    size_bytes: int
    pace_s: float


@dataclass(frozen=True, slots=True)
class Branch:
    """A sequence of steps, in a thread, task or process of its own where the shape says so."""

    name: str
    steps: tuple[Step, ...]


def branches_of(shape: str, seed: int) -> list[Branch]:
    """Return the branches of a program; the first is the one that starts the others."""
    branches, length = _SIZES[shape]
    return [Branch(f"b{index}", _steps(f"{seed}/{index}", length)) for index in range(branches)]


def _steps(seed: str, length: int) -> tuple[Step, ...]:
    coin = random.Random(seed)
    steps = [_step("think", coin)]
    while len(steps) < length - 1:
        steps.append(_step(coin.choice(_KINDS), coin))
    steps.append(_step("think", coin))
    return tuple(steps)


def _step(kind: str, coin: random.Random) -> Step:
    large = coin.random() < 0.12
    size = coin.randrange(17_000, 40_000) if large else coin.randrange(20, 3_000)
    return Step(kind, size, coin.uniform(0.002, 0.012))

"""What the demo plays, as data: which agent, what is killed or frozen where, and what must come of it.

How a scenario is played is plays.py; how it is judged is verdicts.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from livespan.replay.demo.job import Policy
from livespan.replay.demo.points import Point

__all__ = ["AgentKind", "Doubt", "Play", "Scenario", "Taken", "scenarios"]


class AgentKind(StrEnum):
    """Which of the two agents."""

    DECORATED = "decorated"
    LANGGRAPH = "langgraph"


class Play(StrEnum):
    """How a scenario goes."""

    UNDISTURBED = "undisturbed"
    KILLED = "killed"
    FROZEN = "frozen"
    """The holder is frozen before its charge; another takes over; the holder is let go on."""
    LATE_END = "late end"
    """The holder is frozen inside its charge; another finishes; the holder's own end comes after all."""


class Taken(StrEnum):
    """What is lost beside the agent's process."""

    DRAIN = "drain"
    COLLECTOR = "collector"
    SPOOL = "spool"


class Doubt(StrEnum):
    """Whether the charge must come to be in doubt, and what a person then says about it."""

    NONE = "none"
    TRUTH = "truth"
    """In doubt; resolved as the ledger says."""
    ERROR = "error"
    """In doubt; a person errs and says that it was not done."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario.

    Attributes:
        name: part of its run id.
        title: what is killed where, for people.
        hold_at: the point at which the first life is held, then killed or frozen.
        honours_keys: whether the provider gives a known key its first receipt, instead of charging again.
        charge_tries: how often the provider must have been asked; it must have charged once, always.
        lost_answers: model answers that were sent whole and whose record was not spooled yet: they are asked for again.
        takes: what else is killed or deleted at the same moment. Where the drain is, it has been held up before, so
            that the spool alone holds what was not acknowledged by the charge itself.
    """

    agent: AgentKind
    name: str
    title: str
    play: Play
    hold_at: Point = Point.NOWHERE
    policy: Policy = Policy.FAIL
    honours_keys: bool = False
    charge_tries: int = 1
    lost_answers: int = 0
    doubt: Doubt = Doubt.NONE
    takes: frozenset[Taken] = frozenset()

    @property
    def crash_at(self) -> str:
        """Where it is killed or frozen, as the JSON has it."""
        return Point.BEFORE.value if self.hold_at is Point.PERMISSION else self.hold_at.value

    @property
    def needs_short_lease(self) -> bool:
        """Whether somebody must wait for the end of a living process's lease."""
        return self.play in {Play.FROZEN, Play.LATE_END}


def scenarios(agents: Sequence[AgentKind]) -> list[Scenario]:
    """Return what is to be played, in order. What does not depend on how an agent is written, one agent plays."""
    found = [scenario for agent in agents for scenario in _kills(agent)]
    return found + (_MISFORTUNES if AgentKind.DECORATED in agents else [])


def _kills(agent: AgentKind) -> list[Scenario]:
    return [
        Scenario(agent, "undisturbed", "nothing is killed: the measure of the others", Play.UNDISTURBED),
        Scenario(agent, "before", "killed before the charge", Play.KILLED, Point.BEFORE),
        Scenario(agent, "inside-fail", "killed inside the charge", Play.KILLED, Point.INSIDE, doubt=Doubt.TRUTH),
        Scenario(
            agent,
            "inside-retry",
            "killed inside the charge",
            Play.KILLED,
            Point.INSIDE,
            Policy.RETRY,
            honours_keys=True,
            charge_tries=2,
        ),
        Scenario(agent, "inside-probe", "killed inside the charge", Play.KILLED, Point.INSIDE, Policy.PROBE),
        Scenario(agent, "after", "killed after the charge", Play.KILLED, Point.AFTER),
    ]


_D: Final = AgentKind.DECORATED
_MISFORTUNES: Final = [
    Scenario(
        _D,
        "answer",
        "killed with a model's answer in hand, not yet recorded",
        Play.KILLED,
        Point.ANSWER,
        lost_answers=1,
    ),
    Scenario(
        _D,
        "all-killed",
        "agent, drain and collector killed together",
        Play.KILLED,
        Point.AFTER,
        takes=frozenset({Taken.DRAIN, Taken.COLLECTOR}),
    ),
    Scenario(
        _D,
        "new-pod",
        "agent and drain killed inside the charge, the spool deleted",
        Play.KILLED,
        Point.INSIDE,
        doubt=Doubt.TRUTH,
        takes=frozenset({Taken.DRAIN, Taken.SPOOL}),
    ),
    Scenario(_D, "frozen", "frozen before the charge, a second process takes over", Play.FROZEN, Point.PERMISSION),
    Scenario(
        _D, "late-end", "frozen inside the charge, its end comes late", Play.LATE_END, Point.INSIDE, doubt=Doubt.TRUTH
    ),
    Scenario(
        _D,
        "late-conflict",
        "the same, and a person had said that it was not done",
        Play.LATE_END,
        Point.INSIDE,
        honours_keys=True,
        charge_tries=2,
        doubt=Doubt.ERROR,
    ),
]

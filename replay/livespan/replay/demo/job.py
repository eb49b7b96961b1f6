"""What an agent's process is told, as its command line, and what it reports when it ends, as a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from livespan.replay.demo.points import Point
from livespan.replay.demo.sabotage import Sabotage

__all__ = ["Job", "Outcome", "Policy"]


class Policy(StrEnum):
    """What charge_card says is to be done where it is in doubt."""

    FAIL = "fail"
    RETRY = "retry"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Job:
    """One life of an agent.

    Attributes:
        home, run_id: of the run. model_url: an OpenAI-compatible server's. ledger: the provider's file.
        policy: see Policy. honours_keys: whether the provider looks at idempotency keys.
        folder: this life's own, for its marks and its outcome.
        hold_at: where it waits. sabotage: which protection it goes without.
    """

    home: Path
    run_id: str
    model_url: str
    ledger: Path
    folder: Path
    policy: Policy = Policy.FAIL
    honours_keys: bool = False
    hold_at: Point = Point.NOWHERE
    sabotage: Sabotage = Sabotage.NONE

    def arguments(self) -> list[str]:
        """Return the job as a command line."""
        return [
            *("--home", str(self.home)),
            *("--run", self.run_id),
            *("--model", self.model_url),
            *("--ledger", str(self.ledger)),
            *("--folder", str(self.folder)),
            *("--policy", self.policy.value),
            *("--hold-at", self.hold_at.value),
            *("--sabotage", self.sabotage.value),
            *(["--honours-keys"] if self.honours_keys else []),
        ]

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Job:
        """Return the job that a command line says; ends the process where it says none."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--home", type=Path, required=True)
        parser.add_argument("--run", required=True)
        parser.add_argument("--model", required=True)
        parser.add_argument("--ledger", type=Path, required=True)
        parser.add_argument("--folder", type=Path, required=True)
        parser.add_argument("--policy", type=Policy, default=Policy.FAIL)
        parser.add_argument("--hold-at", type=Point, default=Point.NOWHERE)
        parser.add_argument("--sabotage", type=Sabotage, default=Sabotage.NONE)
        parser.add_argument("--honours-keys", action="store_true")
        told = parser.parse_args(arguments)
        return cls(
            told.home,
            told.run,
            told.model,
            told.ledger,
            told.folder,
            told.policy,
            told.honours_keys,
            told.hold_at,
            told.sabotage,
        )


class Outcome(msgspec.Struct, frozen=True):
    """How a life ended, in its own words.

    Attributes:
        answer: the agent's last text; "" where it did not come to one.
        attempt: which life of the run it was; 0 where it could not open it.
        reused, executed: its calls that were answered from the record, and that ran.
        restored: it went on from a checkpoint.
        stopped: the name of what stopped it (InDoubt, LeaseLost, RunHeld, ...), "" where nothing did; message, subject
            and hint are that error's.
    """

    answer: str = ""
    attempt: int = 0
    reused: int = 0
    executed: int = 0
    restored: bool = False
    stopped: str = ""
    message: str = ""
    subject: str = ""
    hint: str = ""

    @property
    def finished(self) -> bool:
        """Whether the agent came to its end."""
        return not self.stopped and bool(self.answer)

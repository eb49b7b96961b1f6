"""The stage: one home, one model that counts, a ledger a run; where lives are started and what they left is counted.

What is counted here is a third party's: the model's server counts its answers, the provider's ledger its charges. No
record of ours is asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from livespan.proto.errors import Unavailable
from livespan.proto.home import Home
from livespan.replay.demo.job import Job
from livespan.replay.demo.life import Life
from livespan.replay.demo.points import Point
from livespan.replay.demo.sabotage import Sabotage
from livespan.replay.demo.scenarios import AgentKind, Scenario
from livespan.replay.demo.served_home import ServedHome
from livespan.replay.testing.ledger import Ledger, read
from livespan.replay.testing.model_process import ModelProcess

__all__ = ["PROJECT", "Stage"]

PROJECT: Final = "demo"
_MODULES: Final = {
    AgentKind.DECORATED: "livespan.replay.demo.plain_agent",
    AgentKind.LANGGRAPH: "livespan.replay.demo.langgraph_agent",
}
_LEASE_S: Final = 3.0
_COMMAND_S: Final = 60.0


class Stage:
    """Where scenarios are played; use it in a `with`.

    Args:
        home: of all runs. suffix: of run ids, so that a home may be played in twice. sabotage: what lives go without.
    """

    def __init__(self, home: Home, *, suffix: str = "", sabotage: Sabotage = Sabotage.NONE) -> None:
        home.create()
        self.home = home
        self._suffix = suffix
        self._sabotage = sabotage
        self._folder = home.root / "demo" / (suffix.lstrip("-") or "first")
        self._folder.mkdir(parents=True)
        self._environment = _environment(os.environ)
        self.served = ServedHome(home, self._environment)
        self._model = ModelProcess(self._folder / "model.port", script="order")
        self._lives: list[Life] = []

    def run_id(self, scenario: Scenario) -> str:
        """Return the run that the scenario is played in."""
        return f"{scenario.agent}-{scenario.name}{self._suffix}"

    def start(self, scenario: Scenario, hold_at: Point = Point.NOWHERE) -> Life:
        """Start a life of the scenario's agent."""
        folder = self._folder / f"{scenario.agent}-{scenario.name}" / f"life-{len(self._lives) + 1}"
        folder.mkdir(parents=True)
        job = Job(
            home=self.home.root,
            run_id=self.run_id(scenario),
            model_url=self._model.base_url,
            ledger=self._ledger(scenario),
            folder=folder,
            policy=scenario.policy,
            honours_keys=scenario.honours_keys,
            hold_at=hold_at,
            sabotage=self._sabotage,
        )
        life = Life(_MODULES[scenario.agent], job, self._environment)
        self._lives.append(life)
        return life

    def serve_with_short_lease(self) -> None:
        """Have the home served by a collector whose leases end soon enough to wait for."""
        self.served.serve(_LEASE_S, fencing=self._sabotage is not Sabotage.LEASE)

    def ledger(self, scenario: Scenario) -> Ledger:
        """Return what reached the provider."""
        return read(self._ledger(scenario))

    def model_answers(self, scenario: Scenario) -> int:
        """Return how many answers the model has sent whole."""
        return self._model.counts(self.run_id(scenario)).answers

    def livespan(self, *arguments: str) -> bytes:
        """Run a `livespan` command on the home, as a person would; return what it printed.

        Raises:
            Unavailable: it failed; the message is its own.
        """
        done = subprocess.run(
            [sys.executable, "-m", "livespan.collector", *arguments, "--home", str(self.home.root)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self._environment,
            timeout=_COMMAND_S,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(done.stderr.decode(errors="replace").strip(), subject=f"livespan {arguments[0]}")
        return done.stdout

    def ask(self, statement: str) -> list[dict[str, object]]:
        """Return the rows of a `livespan sql` statement."""
        return msgspec.json.decode(self.livespan("sql", "-o", "json", statement), type=list[dict[str, object]])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for life in self._lives:
            life.kill()
        self._model.close()
        self.served.close()

    def _ledger(self, scenario: Scenario) -> Path:
        return self._folder / f"{scenario.agent}-{scenario.name}" / "ledger.jsonl"


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of what is started here: without settings that are meant for the user's own agents."""
    meant_for_others = ("LIVESPAN_", "OTEL_", "LANGSMITH_", "LANGCHAIN_", "OPENAI_")
    own = {name: value for name, value in environment.items() if not name.startswith(meant_for_others)}
    return own | {"LIVESPAN_PROJECT": PROJECT, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

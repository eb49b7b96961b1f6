"""The frame around a program of the crash matrix: one process is one life of one agent.

    def work(job: Job, charge: Charging) -> str: ...     builds the agent in its framework, asks it, returns its answer
    if __name__ == "__main__":
        sys.exit(play(work))

The program gives its framework ONE tool, a function `charge_card(cents: int) -> str` that returns `charge(cents)` (from
whatever thread or task the framework runs it in), asks `job.question` with a real client at `job.model_url`, in the way
that `job.way` says (plain, async, stream), and returns the last text. For the shape `nested` the outer agent has one
tool, the inner agent under a name with `billing` in it, and the inner one has charge_card. It opens no run and
instruments nothing: the frame does. Where the program itself calls its tools, charge_card stands under `@ls.tool` with
`in_doubt(job)`; where another process has it, that one calls `charge_under`. Where `job.how` is `own` it also uses the
framework's own checkpointer, kept in `job.own` from life to life; what cannot be played raises `Unplayable`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, cast
from unittest.mock import patch

import msgspec
from tests.matrix.script import question

import livespan.instrumentation as ls
from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.decorators import InDoubtSetting
from livespan.proto import errors
from livespan.proto.errors import EXIT_CODES, LivespanError, RunStopped
from livespan.proto.v1.livespan_pb2 import RunRef
from livespan.replay.testing.ledger import charge, find

__all__ = ["Charging", "Job", "Outcome", "Unplayable", "charge_under", "charging", "in_doubt", "play"]

MODEL = "livespan-test-model"
Charging: TypeAlias = Callable[[int], str]


class Unplayable(Exception):
    """This framework has nothing of the kind; the message says what."""


class Job(msgspec.Struct, frozen=True):
    """One life.

    Attributes:
        run_id, home: of the run. folder: the cell's, for the ledger, the outcome and what the framework keeps.
        server_url: the model server's, labelled with the run.
        shape: once, thrice, twice or nested. way: plain, async or stream.
        policy: fail, retry or probe. how: ours; without Livespan: nothing, or own (the framework's own checkpointer).
        die_at: where this life ends by SIGKILL: before, inside or between; "" = nowhere.
    """

    run_id: str
    home: str
    folder: str
    server_url: str
    shape: str = "once"
    way: str = "plain"
    policy: str = "fail"
    how: str = "ours"
    die_at: str = ""

    @property
    def model_url(self) -> str:
        """What an OpenAI client takes as `base_url`."""
        return f"{self.server_url}/v1"

    @property
    def question(self) -> str:
        """What the agent is asked."""
        return question(self.shape)

    @property
    def ledger(self) -> Path:
        """The provider's file."""
        return Path(self.folder) / "ledger.jsonl"

    @property
    def own(self) -> Path:
        """Where the framework's own checkpointer may keep what it likes."""
        return Path(self.folder) / "own"


class Outcome(msgspec.Struct, frozen=True):
    """How a life ended: the agent's answer, or the name of the error and what it says."""

    answer: str = ""
    stopped: str = ""
    message: str = ""
    reused: int = 0
    executed: int = 0


def play(work: Callable[[Job, Charging], str]) -> int:
    """Play the life that the first argument (a Job as JSON) tells; return its exit code."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    code = 0
    try:
        outcome = _watched(work, job) if job.how == "ours" else Outcome(work(job, charging(job)))
    except Unplayable as error:
        outcome, code = Outcome(stopped="Unplayable", message=str(error)), 3
    except LivespanError as error:
        cause = error.cause if isinstance(error, RunStopped) else error
        outcome, code = Outcome(stopped=_public_name(cause), message=str(error)), EXIT_CODES[error.kind]
        print(f"{outcome.stopped}: {error}", file=sys.stderr)
    (Path(job.folder) / "outcome.json").write_bytes(msgspec.json.encode(outcome))
    return code


def _public_name(error: BaseException) -> str:
    """Return the name under which errors.py knows an error."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)


def _watched(work: Callable[[Job, Charging], str], job: Job) -> Outcome:
    ls.instrument(in_doubt={"charge_card": in_doubt(job)})
    intend = CollectorClient.intend

    def dying(self: CollectorClient, run: RunRef, epoch: int, export: bytes, timeout_s: float) -> int:
        _reach(job, "between", os.getpid())
        return intend(self, run, epoch, export, timeout_s)

    with patch.object(CollectorClient, "intend", dying), ls.run(job.run_id, home=job.home) as run:
        answer = work(job, charging(job))
        return Outcome(answer, "", "", run.reused, run.executed)


def charging(job: Job) -> Charging:
    """Return what the program's tool calls: the provider, a ledger that honours keys."""
    return lambda cents: charge_under(job, cents, ls.idempotency_key() if job.how == "ours" else "", os.getpid())


def charge_under(job: Job, cents: int, key: str, agent: int) -> str:
    """Charge under a key that was handed on, maybe by another process; `agent` is the one that dies of it."""
    _reach(job, "before", agent)
    done = charge(job.ledger, cents, key, honours_keys=True)
    _reach(job, "inside", agent)
    return f"charged {done['cents']} cents, receipt {done['receipt']}"


def in_doubt(job: Job) -> InDoubtSetting:
    """Return what `job.policy` says of charge_card, for a program that decorates it itself."""
    return _probe(job) if job.policy == "probe" else cast("InDoubtSetting", job.policy)


def _probe(job: Job) -> Callable[..., object]:
    def look(key: str, *_args: object, **_words: object) -> object:
        found = find(job.ledger, key)
        return ls.NOT_DONE if found is None else f"charged {found['cents']} cents, receipt {found['receipt']}"

    return look


def _reach(job: Job, point: str, agent: int) -> None:
    if job.die_at == point:
        os.kill(agent, signal.SIGKILL)
        # Where the agent is another process, this one ends with it.
        os._exit(1)

"""One cell of the matrix played: a life that dies, one that goes on, and what was counted outside our record.

model server (here) ◀─ HTTP ─ the framework's program, in the framework's own Python ─▶ ledger
                               │ SIGKILL, by itself or while the model holds its answer back
                               ▼
                              started again at once
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from tests.livespan_home import LiveHome
from tests.matrix.agent import Job, Outcome
from tests.matrix.cells import Cell
from tests.matrix.script import CHARGES, matrix_script

from livespan.replay.testing import ModelServer, read

__all__ = ["Played", "Player", "environment", "wrong"]

ROOT: Final = Path(__file__).parents[2]
_LIFE_S: Final = 90.0
_LOOK_S: Final = 0.005
_STOPS: Final = {"fail": ("before", "inside")}
"""Where a run of this policy must stop, since the effect's outcome is not known."""


class Played(msgspec.Struct, frozen=True):
    """What came of a cell: how its last life ended, tries at the provider, charges, answers that the model gave."""

    outcome: Outcome
    tries: int
    charges: int
    answers: int
    died: bool = True


def environment(framework: str) -> str:
    """Return the Python that has a framework: one of its own where it cannot live with the others."""
    own = ROOT / ".make" / "frameworks" / framework / "bin" / "python"
    return str(own) if (ROOT / "tests" / "matrix" / "requirements" / f"{framework}.txt").exists() else sys.executable


def wrong(cell: Cell, played: Played) -> str:
    """Return what a cell of ours came to that it must not; "" where it is as it should be."""
    wanted = len(CHARGES[cell.shape])
    answers = 4 if cell.shape == "nested" else 2
    outcome = played.outcome
    counts = f"{played.tries} tries, {played.charges} charges, {played.answers} answers"
    told = f"{outcome.stopped or outcome.answer!r}, {counts}"
    if not played.died:
        return f"it did not die at {cell.die_at}: {told} {outcome.message}"
    if cell.die_at in _STOPS.get(cell.policy, ()):
        most = wanted if cell.shape in ("twice", "thrice") else int(cell.die_at == "inside")
        least = int(cell.die_at == "inside")
        fits = outcome.stopped == "InDoubt" and least <= played.charges == played.tries <= most
        return "" if fits and played.answers == answers // 2 else f"wanted a stop in doubt: {told} {outcome.message}"
    if outcome.stopped or "is paid" not in outcome.answer or "receipt" not in outcome.answer:
        return f"it did not end well: {told} {outcome.message}"
    in_doubt = cell.policy == "retry" and cell.die_at == "inside"
    most_tries = wanted + (wanted if in_doubt else 0)
    if played.charges != wanted or not wanted + in_doubt <= played.tries <= most_tries or played.answers != answers:
        return f"wanted {wanted} charges and {answers} answers: {told}"
    return ""


class Player:
    """Plays cells, one after the other, on a home with a collector of its own. Close it, or use it in a `with`."""

    def __init__(self) -> None:
        self._live = LiveHome()
        self._live.serve()
        self._server = ModelServer(matrix_script, random_ids=True)
        self._played = 0

    def play(self, cell: Cell) -> Played:
        """Play one.

        Raises:
            subprocess.TimeoutExpired: a life did not come to its end.
        """
        self._played += 1
        run_id = f"{cell.framework}-{self._played}"
        with tempfile.TemporaryDirectory(prefix="cell-") as folder:
            job = Job(
                run_id,
                str(self._live.home.root),
                folder,
                self._server.labelled_url(run_id),
                cell.shape,
                cell.way,
                cell.policy,
                cell.how,
                cell.die_at if cell.die_at != "after" else "",
            )
            if cell.die_at == "after":
                self._server.traffic.hold(run_id, 3 if cell.shape == "nested" else 2)
            died = self._live_once(cell, job) == -signal.SIGKILL if cell.die_at else self._live_once(cell, job) == 0
            if cell.drain_too:
                self._live.kill("drain")
            self._live_once(cell, msgspec.structs.replace(job, die_at=""))
            ledger = read(job.ledger)
            outcome = _outcome(Path(folder))
            return Played(outcome, len(ledger.tries), len(ledger.charges), self._server.counts(run_id).answers, died)

    def _live_once(self, cell: Cell, job: Job) -> int:
        """Play one life, and return its exit code."""
        output = Path(job.folder) / "output.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [
                    environment(cell.framework),
                    "-m",
                    f"tests.matrix.agents.{cell.framework}",
                    msgspec.json.encode(job).decode(),
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_SDK_DISABLED": "", "NO_PROXY": "127.0.0.1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        held = cell.die_at == "after" and not job.die_at
        deadline = time.monotonic() + _LIFE_S
        try:
            while process.poll() is None:
                if held and self._server.counts(job.run_id).held:
                    process.kill()
                    process.wait()
                    self._server.traffic.release(job.run_id, None)
                    while self._server.counts(job.run_id).held:
                        time.sleep(_LOOK_S)  # or the next life would be taken for one that is held
                    break
                if time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(process.args, _LIFE_S, output.read_bytes())
                time.sleep(_LOOK_S)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
        return process.returncode

    def close(self) -> None:
        """End the model server, the collector and the drain."""
        self._server.close()
        self._live.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _outcome(folder: Path) -> Outcome:
    try:
        return msgspec.json.decode((folder / "outcome.json").read_bytes(), type=Outcome)
    except FileNotFoundError:
        said = (folder / "output.txt").read_text(errors="replace").strip().splitlines()
        return Outcome(stopped="NoOutcome", message="\n".join(said[-6:]))

"""Recovering several runs: which are wanted, which can be started, and a `livespan run` for each, some at a time.

A process of its own for each, so that one supervisor's end or folder is not another's.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
import msgspec

from livespan.collector.client import damage_hint, find_run
from livespan.collector.options import Where
from livespan.proto.errors import EXIT_CODES, ErrorKind
from livespan.proto.node import RunStatus
from livespan.proto.rendezvous import ensure, locate
from livespan.proto.rpc import open_channel, translate
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub, RecoveryStub
from livespan.recovery.supervision.children import Children
from livespan.recovery.supervision.restart import missing_names, obstacle
from livespan.recovery.supervision.results import Recovered, RunResult
from livespan.recovery.supervision.verdict import held_elsewhere

__all__ = ["Recovering", "Wanted"]

_SIGNAL_EXIT: Final = 128
_FAILURE: Final = EXIT_CODES[ErrorKind.INTERNAL]
_CONFLICT: Final = EXIT_CODES[ErrorKind.CONFLICT]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are to be recovered.

    Attributes:
        names: as people name runs; none = all that were interrupted.
        project: "" = all.
        failed: of all, those too that their program ended by an error.
        in_doubt: those in doubt too.
    """

    names: Sequence[str]
    project: str
    failed: bool
    in_doubt: bool


class Recovering:
    """Recovers runs of one collector.

    Args:
        where: the collector, and the home that programs are given.
        children: starts them, and passes signals on.
        limits: options for each `livespan run`.
        jobs: how many run at once.
        say: told what people should know while it goes on.
        environment: what programs are given.

    Attributes:
        left_out: whether all that is interrupted was wanted, and damaged files of the lake may hold more of it.
    """

    def __init__(
        self,
        where: Where,
        children: Children,
        limits: Sequence[str],
        jobs: int,
        say: Callable[[str], None],
        environment: Mapping[str, str],
    ) -> None:
        self._where = where
        self._children = children
        self._limits = limits
        self._jobs = jobs
        self._say = say
        self._environment = environment
        self.left_out = False

    def recover(self, wanted: Wanted) -> list[Recovered]:
        """Start what can be started and return what became of each, in the order in which they were listed.

        Raises:
            NotFound, InvalidInput: a name names none, or several. Unavailable: no collector answers.
        """
        judged = list(self._judged(wanted))
        results = {index: result for index, (result, run) in enumerate(judged) if run is None}
        waiting = deque((index, run) for index, (_, run) in enumerate(judged) if run is not None)
        running: dict[int, tuple[int, pb.InterruptedRun, int]] = {}
        while running or waiting:
            while waiting and len(running) < self._jobs and not self._children.asked:
                index, run = waiting.popleft()
                output = os.memfd_create("livespan-recover")
                running[self._start(run, output)] = (index, run, output)
            if not running:
                break
            ended = self._children.next_end()
            index, run, output = running.pop(ended.pid)
            results[index] = self._result(run, _read(output), ended.code or _SIGNAL_EXIT + ended.signal)
        for index, run in waiting:
            reason = "this command was asked to end before its turn"
            results[index] = self._told(run, "ended", _SIGNAL_EXIT + self._children.asked, reason=reason)
        return [results[index] for index in sorted(results)]

    def _judged(self, wanted: Wanted) -> Iterator[tuple[Recovered, pb.InterruptedRun | None]]:
        """Yield, for each run that is wanted, itself where it is to be started, or what is to be said of it."""
        target = self._target()
        with open_channel(target, self._where.access) as channel:
            try:
                reply = RecoveryStub(channel).Interrupted(pb.InterruptedRequest(project=wanted.project))
                stopped = reply.runs
                if reply.damaged:
                    self.left_out = not wanted.names
                    self._say(f"Runs in damaged files of the lake are left out. {damage_hint(reply.damaged)}")
                if not wanted.names:
                    for run in stopped:
                        if run.status != RunStatus.FAILED or wanted.failed:
                            yield self._looked_at(run, wanted)
                    return
                by_name = {(run.run.project, run.run.run_id): run for run in stopped}
                refs = [find_run(QueryStub(channel), name, wanted.project) for name in wanted.names]
                for project, run_id in dict.fromkeys((ref.project, ref.run_id) for ref in refs):
                    found = by_name.get((project, run_id))
                    if found is not None:
                        yield self._looked_at(found, wanted)
                        continue
                    ref = pb.RunRef(project=project, run_id=run_id)
                    yield _not_interrupted(ref, RecoveryStub(channel).Standing(pb.StandingRequest(run=ref))), None
            except grpc.RpcError as error:
                raise translate(error, subject=target) from error

    def _looked_at(self, run: pb.InterruptedRun, wanted: Wanted) -> tuple[Recovered, pb.InterruptedRun | None]:
        if run.status == RunStatus.IN_DOUBT and not wanted.in_doubt:
            return self._told(
                run,
                "skipped",
                _CONFLICT,
                "InDoubt",
                "an effect was started and its outcome is not known",
                self._doubt_hint(run),
            ), None
        why = obstacle(run.attempt)
        if why:
            hint = f"Start the program by hand, with LIVESPAN_RUN_ID={run.run.run_id}."
            return self._told(run, "skipped", _FAILURE, reason=why, hint=hint), None
        return self._told(run, "", 0), run

    def _doubt_hint(self, run: pb.InterruptedRun) -> str:
        if run.stopped.name == "InDoubt" and run.stopped.hint:
            return run.stopped.hint
        flags = f"{self._where.flags} " if self._where.flags else ""
        run_id = shlex.quote(run.run.run_id)
        return (
            f"livespan runs show {flags}{run_id} shows which; look it up, then:\n"
            f"livespan resolve {flags}{run_id} NODE --done JSON (or --not-done)\n"
            f"or, where its tool has a probe or a retry: livespan recover {flags}{run_id} --in-doubt"
        )

    def _start(self, run: pb.InterruptedRun, output: int) -> int:
        missing = missing_names(run.attempt, self._environment)
        if missing:
            self._say(f"livespan: run {run.run.run_id}: not set now, as they were then: {', '.join(missing)}")
        where = self._where
        words = [sys.executable, "-P", "-m", "livespan.collector", "run", "-o", "json", "--home", str(where.home.root)]
        words += ["--endpoint", where.endpoint] if where.endpoint else []
        words += ["--id", run.run.run_id, "--project", run.run.project, "--cwd", run.attempt.cwd, *self._limits]
        return self._children.start([*words, "--", *run.attempt.argv], self._environment, output)

    def _result(self, run: pb.InterruptedRun, output: bytes, exit_code: int) -> Recovered:
        try:
            told = msgspec.json.decode(output, type=RunResult)
        except msgspec.DecodeError:
            return self._told(run, "stopped", exit_code, reason="its `livespan run` failed; what it said is above")
        outcome = told.outcome
        if outcome == "done":
            outcome = "recovered" if told.finished else "unfinished"
        code = _FAILURE if outcome == "unfinished" else told.exit_code
        return self._told(run, outcome, code, told.name, told.reason, told.hint, told.lives)

    def _told(
        self,
        run: pb.InterruptedRun,
        outcome: str,
        exit_code: int,
        name: str = "",
        reason: str = "",
        hint: str = "",
        lives: int = 0,
    ) -> Recovered:
        return Recovered(
            run_id=run.run.run_id,
            project=run.run.project,
            was=run.status,
            outcome=outcome,
            exit_code=exit_code,
            name=name,
            reason=reason,
            hint=hint,
            lives=lives,
            argv=tuple(run.attempt.argv),
            cwd=run.attempt.cwd,
            missing_environment=missing_names(run.attempt, self._environment),
        )

    def _target(self) -> str:
        if self._where.endpoint:
            return self._where.endpoint
        home = self._where.existing_home()
        address = locate(home)
        if address is not None:
            return address.target
        with self._children.unblocked():
            return ensure(home)


def _not_interrupted(ref: pb.RunRef, standing: pb.StandingReply) -> Recovered:
    """Return what is to be said of a run that was named and has not stopped before its end."""
    run_id, project = ref.run_id, ref.project
    if standing.finished:
        return Recovered(run_id, project, RunStatus.DONE.value, "finished", 0, reason="it was finished already")
    if standing.cancelled:
        reason = f"it was cancelled ({standing.cancelled})"
        hint = 'A program begins it anew, from its first step, by run(ID, if_finished="new").'
        return Recovered(run_id, project, RunStatus.CANCELLED.value, "skipped", _CONFLICT, "RunCancelled", reason, hint)
    holder = held_elsewhere(standing)
    if holder is not None:
        reason, hint = f"it is run by {holder}", "Wait until that process ends, or end it."
        return Recovered(run_id, project, RunStatus.RUNNING.value, "skipped", _CONFLICT, "RunHeld", reason, hint)
    reason = "no program of ours has run it: it came from other people's spans"
    return Recovered(run_id, project, "", "skipped", _FAILURE, "", reason)


def _read(descriptor: int) -> bytes:
    """Return what was written to a descriptor, and close it."""
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read()

"""The agent that is killed: `python -m tests.crash.program --home H --run ID --shape S --seed N --folder F`.

Each answer is fresh and random, and goes into the next step's input, so that an answer that came back changed, or was
asked twice, shows at once. After each return it writes what it got to its witness file (witness.py). Effects are
charges in ledgers; `pay_fail` and `pay_probe` have one that ignores idempotency keys. It pauses, where asked, at:

    llm   between   intent.asked   intent.granted   effect   effect.done   after

Exit code 5: the run was stopped, and the last line of the witness says by what.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.crash import mutations
from tests.crash.pausing import PauseHook
from tests.crash.steps import Branch, Step, branches_of
from tests.crash.witness import Line, Witness, json_digest

import livespan.instrumentation as ls
from livespan.instrumentation.branches import current
from livespan.instrumentation.client import CollectorClient
from livespan.replay.testing import ledger

STOPPED = 5


@dataclass(slots=True)
class Stage:
    """What the tools reach: set once, before the run opens."""

    folder: Path
    witness: Witness
    pause: PauseHook
    life: int = 0


class _Tries(threading.local):
    """What bodies that ran in this thread say of themselves: (node, key) by label."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[str, str]] = {}


STAGE: list[Stage] = []
TRIES = _Tries()


def stage() -> Stage:
    return STAGE[0]


def note_try(label: str) -> str:
    """Note which node this body is the try of; return the idempotency key."""
    scope = current()
    key = ls.idempotency_key()
    TRIES.made[label] = (scope.node_id.hex() if scope is not None else "", key)
    return key


def fresh_answer(size_bytes: int) -> dict[str, Any]:
    return {"answer": os.urandom(8).hex(), "text": os.urandom(size_bytes // 2).hex(), "words": [1, None, True, "é\n"]}


def enter_effect(label: str, name: str) -> str:
    key = note_try(label)
    node, _ = TRIES.made[label]
    stage().witness.write(Line("entered", stage().life, label, name, node, key))
    stage().pause("effect")
    return key


def charge(label: str, name: str, *, honours_keys: bool) -> dict[str, Any]:
    key = enter_effect(label, name)
    receipt = ledger.charge(stage().folder / f"{name}.ledger", 100 + len(label), key, honours_keys=honours_keys)
    stage().pause("effect.done")
    return dict(receipt)


def find_charge(key: str, label: str, before: str) -> Any:
    del label, before
    found = ledger.find(stage().folder / "pay_probe.ledger", key)
    return ls.NOT_DONE if found is None else dict(found)


@ls.step(ignore=("size_bytes", "pace_s"))
def think(label: str, before: str, size_bytes: int, pace_s: float) -> dict[str, Any]:
    note_try(label)
    time.sleep(pace_s)
    stage().pause("llm")
    return fresh_answer(size_bytes)


@ls.tool(effect=False, ignore=("size_bytes",))
def read(label: str, before: str, size_bytes: int) -> dict[str, Any]:
    note_try(label)
    return fresh_answer(size_bytes)


@ls.step(type="MEMORY", ignore=("size_bytes",))
def recall(label: str, before: str, size_bytes: int) -> dict[str, Any]:
    note_try(label)
    return fresh_answer(size_bytes)


@ls.tool(in_doubt="fail")
def pay_fail(label: str, before: str) -> dict[str, Any]:
    return charge(label, "pay_fail", honours_keys=False)


@ls.tool(in_doubt="retry")
def pay_retry(label: str, before: str) -> dict[str, Any]:
    return charge(label, "pay_retry", honours_keys=True)


@ls.tool(in_doubt=find_charge)
def pay_probe(label: str, before: str) -> dict[str, Any]:
    return charge(label, "pay_probe", honours_keys=False)


@ls.step(name="think", ignore=("size_bytes", "pace_s"))
async def athink(label: str, before: str, size_bytes: int, pace_s: float) -> dict[str, Any]:
    note_try(label)
    await asyncio.sleep(pace_s)
    stage().pause("llm")
    return fresh_answer(size_bytes)


@ls.tool(name="pay_fail", in_doubt="fail")
async def apay_fail(label: str, before: str) -> dict[str, Any]:
    return charge(label, "pay_fail", honours_keys=False)


@ls.tool(name="pay_retry", in_doubt="retry")
async def apay_retry(label: str, before: str) -> dict[str, Any]:
    return charge(label, "pay_retry", honours_keys=True)


@ls.tool(name="pay_probe", in_doubt=find_charge)
async def apay_probe(label: str, before: str) -> dict[str, Any]:
    return charge(label, "pay_probe", honours_keys=False)


PAYS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "pay_fail": pay_fail,
    "pay_retry": pay_retry,
    "pay_probe": pay_probe,
}
ASYNC_PAYS: dict[str, Callable[[str, str], Awaitable[dict[str, Any]]]] = {
    "pay_fail": apay_fail,
    "pay_retry": apay_retry,
    "pay_probe": apay_probe,
}


class Walk:
    """One branch being walked: what the next step's input is made of."""

    def __init__(self, branch: Branch, first: int = 0, before: str = "") -> None:
        self.branch = branch
        self.first = first
        self.before = before

    def run(self) -> None:
        """Walk it, synchronously."""
        for index, step in self._left():
            label = f"{self.branch.name}.{index}"
            match step.kind:
                case "think":
                    self._returned(label, step, think(label, self.before, step.size_bytes, step.pace_s))
                case "read":
                    self._returned(label, step, read(label, self.before, step.size_bytes))
                case "recall":
                    self._returned(label, step, recall(label, self.before, step.size_bytes))
                case "note":
                    self._note(label, step, index)
                case _:
                    stage().pause("between")
                    self._returned(label, step, PAYS[step.kind](label, self.before))

    async def arun(self) -> None:
        """Walk it as a coroutine."""
        for index, step in self._left():
            label = f"{self.branch.name}.{index}"
            match step.kind:
                case "think":
                    self._returned(label, step, await athink(label, self.before, step.size_bytes, step.pace_s))
                case "read":
                    self._returned(label, step, read(label, self.before, step.size_bytes))
                case "recall":
                    self._returned(label, step, recall(label, self.before, step.size_bytes))
                case "note":
                    self._note(label, step, index)
                case _:
                    stage().pause("between")
                    self._returned(label, step, await ASYNC_PAYS[step.kind](label, self.before))

    def _left(self) -> list[tuple[int, Step]]:
        return list(enumerate(self.branch.steps))[self.first :]

    def _returned(self, label: str, step: Step, result: dict[str, Any]) -> None:
        given: dict[str, Any] = {"label": label, "before": self.before}
        if step.kind in ("think", "read", "recall"):
            given["size_bytes"] = step.size_bytes
        if step.kind == "think":
            given["pace_s"] = step.pace_s
        node, key = TRIES.made.pop(label, ("", ""))
        output = json_digest(result)
        stage().witness.write(
            Line("returned", stage().life, label, step.kind, node, key, input=json_digest(given), output=output)
        )
        if node and step.kind.startswith("pay"):
            stage().pause("after")  # the return is witnessed: from here on its record must be there, whatever dies
        self.before = output

    def _note(self, label: str, step: Step, index: int) -> None:
        known = {
            "next": index + 1,
            "before": self.before,
            "label": label,
            "padding": os.urandom(step.size_bytes // 2).hex(),
        }
        state = json.dumps(known).encode()
        checkpoint = ls.checkpoint(state)
        digest = sha256(state).hexdigest()
        stage().witness.write(
            Line("checkpoint", stage().life, label, "checkpoint", state=digest, checkpoint=checkpoint)
        )


def run_single(branches: list[Branch], restored: bytes | None) -> None:
    """One branch; or several, one after the other."""
    known: dict[str, Any] = {"next": 0, "before": ""}
    if restored is not None:
        known = json.loads(restored)
    for branch in branches:
        Walk(branch, known["next"], known["before"]).run()


def run_threads(branches: list[Branch]) -> None:
    """Each branch in a thread of its own."""
    threads = [threading.Thread(target=Walk(branch).run, daemon=True) for branch in branches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def run_tasks(branches: list[Branch]) -> None:
    """The first branch, then all others at once, one of them by name."""
    await Walk(branches[0]).arun()

    async def named() -> None:
        with ls.branch("alice"):
            await Walk(branches[1]).arun()

    await asyncio.gather(named(), *[Walk(branch).arun() for branch in branches[2:]])


def run_fork(branches: list[Branch]) -> None:
    """The first branch, then the second in a forked child while the parent goes on with the third."""
    Walk(branches[0]).run()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            Walk(branches[1]).run()
            code = 0
        except BaseException as error:  # the child's border: it must leave by _exit, with what it has to say
            say_stopped(error)
            code = STOPPED
        finally:
            os._exit(code)
    try:
        Walk(branches[2]).run()
    except BaseException:
        # A program that is stopped takes its children along; one that went on would be refused its next effect.
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    _, status = os.waitpid(child, 0)
    if status != 0:
        sys.exit(os.waitstatus_to_exitcode(status))


def say_stopped(error: BaseException) -> None:
    """Write what stopped the run."""
    cause = error.cause if isinstance(error, ls.RunStopped) else error
    name = next(
        (cls.__name__ for cls in type(cause).__mro__ if cls.__module__ == "livespan.proto.errors"), type(cause).__name__
    )
    subject = getattr(cause, "subject", "")
    print(f"stopped: {name}: {cause}", file=sys.stderr)
    stage().witness.write(Line("stopped", stage().life, name=name, subject=subject))


def pause_intents(pause: PauseHook) -> None:
    """Put pauses around the question for permission, where it leaves for the collector and where its answer arrives."""
    intend = CollectorClient.intend

    def paused(client: CollectorClient, *args: Any) -> int:
        pause("intent.asked")
        answer = intend(client, *args)
        pause("intent.granted")
        return answer

    CollectorClient.intend = paused  # type: ignore[method-assign,assignment]  # the test's seam into the agent's process


def begin(run: ls.Run) -> None:
    """Say that this life has begun, and with which state."""
    stage().life = run.attempt
    state = sha256(run.state).hexdigest() if run.state is not None else ""
    stage().witness.write(Line("begun", run.attempt, state=state))


def walk(shape: str, branches: list[Branch], run: ls.Run) -> None:
    """Do the program's work inside the open run."""
    begin(run)
    match shape:
        case "threads8":
            run_threads(branches)
        case "fork":
            run_fork(branches)
        case "restore":
            run_single(branches, run.restore())
        case _:
            run_single(branches, None)


async def walk_async(run: ls.Run, branches: list[Branch]) -> None:
    """As `walk`, for tasks."""
    async with run:
        begin(run)
        await run_tasks(branches)


def main(arguments: Sequence[str]) -> int:
    """Run the program once; return its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--shape", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--without", default="")
    told = parser.parse_args(arguments)
    pause = PauseHook(told.folder / "pauses", f"agent-{told.run}")
    STAGE.append(Stage(told.folder, Witness(told.folder / f"{told.run}.witness"), pause))
    pause_intents(pause)
    mutations.in_agent(told.without, pause)
    branches = branches_of(told.shape, told.seed)
    run = ls.run(told.run, home=told.home)
    try:
        if told.shape == "asyncio":
            asyncio.run(walk_async(run, branches))
        else:
            with run:
                walk(told.shape, branches, run)
    except (ls.RunStopped, ls.Unavailable) as error:
        say_stopped(error)
        return STOPPED
    stage().witness.write(Line("finished", stage().life))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a step and a checkpoint cost on the agent's thread, beside a plain SDK span and what else one could use.

    first   busy ─▶ SDK span ─▶ busy ─▶ step + checkpoint ─▶ busy ─▶ step over a message list
    then    busy ─▶ BatchSpanProcessor ─▶ busy ─▶ SqliteSaver.put ─▶ busy ─▶ livingai in memory ─▶ busy ─▶ in a file

Before each of them the thread does the same millisecond of Python, so that all are measured with the caches of an
agent at work, and drain and collector are busy with what was recorded before. The others come afterwards, in the same
process: their threads and their writes would stand in our way, and ours in theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import livespan.instrumentation as ls
from benchmarks.figure import Figure
from benchmarks.livingai import VERSION, LivingAI, install
from benchmarks.material import busy, messages, state, texts
from benchmarks.peers import batch_span, sdk_span, sqlite_saver
from benchmarks.percentiles import percentile, spread
from benchmarks.stand import stand

__all__ = ["measure"]

_BUSY_S = 0.001
_WARM_UP = 100
_PEERS_EVERY = 8
_ANSWER = texts(1)[0]
_STEP, _BOTH, _SDK, _LIST = "step", "step_and_checkpoint", "sdk", "message_list"


@ls.step
def think(question: str) -> str:
    """Answer 1 KB with 1 KB; the body takes nothing, so that all of the call's time is ours."""
    return _ANSWER


@ls.step
def chat(history: list[dict[str, str]]) -> str:
    """Answer a conversation."""
    return _ANSWER


def measure(quick: bool) -> list[Figure]:
    """Return the agent's floors, and the others' figures beside them."""
    rounds = (400 if quick else 2400) + _WARM_UP
    taken: dict[str, list[float]] = {}
    with stand() as home, ls.run("agent", home=home.root):
        span, questions, kept, history = sdk_span(), texts(64), state(), messages()
        for number in range(rounds):
            busy(_BUSY_S)
            plain_s = span()
            busy(_BUSY_S)
            began_s = time.perf_counter()
            think(questions[number & 63])
            thought_s = time.perf_counter()
            ls.checkpoint(kept)
            ended_s = time.perf_counter()
            busy(_BUSY_S)
            asked_s = time.perf_counter()
            chat(history)
            answered_s = time.perf_counter()
            found = {
                _SDK: plain_s,
                _STEP: thought_s - began_s,
                _BOTH: ended_s - began_s,
                _LIST: answered_s - asked_s,
            }
            if number >= _WARM_UP:
                for name, took_s in found.items():
                    taken.setdefault(name, []).append(took_s)
    with stand() as home, ExitStack() as stack:
        others, notes = _others(home.root, stack)
        for number in range((rounds - _WARM_UP) // _PEERS_EVERY + 1):
            for name, once in others.items():
                busy(_BUSY_S)
                took_s = once()
                if number:
                    taken.setdefault(name, []).append(took_s)
        missed = notes.missed()
    return _floors(taken) + _beside(taken, notes.reason, missed)


class _Notes:
    """What must be said of the others: why one is missing, and how many saves were given up."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.savers: dict[str, LivingAI] = {}

    def missed(self) -> dict[str, int]:
        return {name: saver.missed for name, saver in self.savers.items()}


def _others(folder: Path, stack: ExitStack) -> tuple[dict[str, Callable[[], float]], _Notes]:
    batch, end_batch = batch_span(folder / "batch.otlp", state())
    stack.callback(end_batch)
    put, end_put = sqlite_saver(folder / "langgraph.sqlite")
    stack.callback(end_put)
    found = {
        f"BatchSpanProcessor (SDK {version('opentelemetry-sdk')}), 50 KB text attribute; lost by kill -9": batch,
        f"LangGraph SqliteSaver.put ({version('langgraph-checkpoint-sqlite')}), 50 KB, file, WAL": put,
    }
    notes = _Notes(install())
    if not notes.reason:
        state_file = folder / "state"
        state_file.write_bytes(state())
        for database, what in ((":memory:", "`:memory:`; lost by kill -9"), (str(folder / "livingai.sqlite"), "file")):
            name = f"livingai {VERSION} save, 50 KB, {what}"
            saver = notes.savers[name] = LivingAI(database, state_file)
            stack.callback(saver.close)
            found[name] = saver.save_s
    return found, notes


def _floors(taken: dict[str, list[float]]) -> list[Figure]:
    us = {name: spread(taken[name], 1e6) for name in (_SDK, _STEP, _BOTH, _LIST)}
    ratio = us[_BOTH]["p50"] / us[_SDK]["p50"]
    detail = {f"{name}_{key}": value for name in us for key, value in us[name].items()}
    parts = f"step {us[_STEP]['p50']:.0f} us, both {us[_BOTH]['p50']:.0f} us, SDK span {us[_SDK]['p50']:.0f} us"
    return [
        Figure(
            group="agent",
            name="a step (1 KB in and out) and a 50 KB checkpoint, p50, in SDK spans of 15 attributes",
            value=ratio,
            unit="x",
            floor=3,
            aim=2,
            note=parts,
            detail=detail,
        ),
        Figure(
            group="agent",
            name="the same, p99",
            value=us[_BOTH]["p99"],
            unit="us",
            floor=250,
            aim=100,
            note=f"SDK span p99 {us[_SDK]['p99']:.0f} us; p90 {us[_BOTH]['p90']:.0f} and {us[_SDK]['p90']:.0f} us",
        ),
        Figure(
            group="agent",
            name="a step over a 50 KB message list, p50",
            value=us[_LIST]["p50"],
            unit="us",
            floor=120,
            aim=80,
            note=f"p99 {us[_LIST]['p99']:.0f} us",
        ),
    ]


def _beside(taken: dict[str, list[float]], reason: str, missed: dict[str, int]) -> list[Figure]:
    figures = [
        Figure(
            group="agent",
            name="SDK span, 15 attributes, no-op processor, no state, p50",
            value=percentile(taken[_SDK], 0.5) * 1e6,
            unit="us",
        )
    ]
    for name, samples in taken.items():
        if name in (_SDK, _STEP, _BOTH, _LIST):
            continue
        detail = spread(samples, 1e6)
        note = f"p99 {detail['p99']:.0f} us"
        if name in missed:
            note += f"; {missed[name]} of its saves given up"
        figures.append(
            Figure(group="agent", name=f"{name}, p50", value=detail["p50"], unit="us", note=note, detail=detail)
        )
    if reason:
        figures.append(Figure(group="agent", name=f"livingai {VERSION}", value=None, unit="", note=reason))
    return figures

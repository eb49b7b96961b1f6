"""A bit flipped in each kind of file that a home holds, while the collector runs or between two of its lives.

    a sound home ─▶ one bit of a region of a kind ─▶ verify ─▶ collector ─▶ SQL, agents ─▶ SIGTERM ─▶ lake, by DuckDB

What does not lie in the damaged place itself is there exactly once and as it was; what does is reported with file and
offset, and never told as something else. Where a collector refuses to start it says which file and what to do; that is
done, and then nothing may lack at all.
"""

from __future__ import annotations

import random
import shutil
import signal
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Final

import duckdb
from tests.crash.stage import TrialError
from tests.torture.flip_home import (
    LATE_RUNS,
    OLD_RUNS,
    Living,
    Row,
    Truth,
    live_nodes,
    make_home,
    read_lake,
    same,
    truth_of,
)
from tests.torture.flip_kinds import KINDS, Region, live_files, regions
from tests.torture.flips_agent import STEPS

from livespan.collector.commands.verify import verified
from livespan.collector.log.frame import HEADER_SIZE, read_header
from livespan.proto.errors import LivespanError
from livespan.proto.otlp import Request

__all__ = ["FlipReport", "flip_each_kind"]

_IDENTITY: Final = ("log: format and uuid", "lake: Delta commit", "lake: Delta checkpoint")
_TOLD: Final = ("log: frame", "lake: nodes", "lake: content", "lake: Delta commit", "lake: views.sql", "lake: seal")
"""Kinds of which each byte means something: damage must be reported even where it did no harm."""
_FORWARDED: Final = "forwarder's cursor"
_HOMES: Final = 2
_STATUS: Final = 3
_CHOICES: Final = 20
_OFTEN: Final = 3
"""In every third trial the collector runs while its home is damaged."""


@dataclass(slots=True)
class FlipReport:
    """Flips made by kind, how they were met, and what was found wrong."""

    flips: Counter[str] = field(default_factory=Counter[str])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    problems: list[str] = field(default_factory=list[str])


def flip_each_kind(folder: Path, times: int, seed: int, only: str = "") -> FlipReport:
    """Flip `times` bits in each kind, on two homes at once; `problems` is empty where all was as the module says."""
    todo = Queue[str]()
    for kind in sorted(KINDS) * times:
        if only in kind:
            todo.put(kind)
    report = FlipReport()
    with ThreadPoolExecutor(_HOMES) as pool:
        for done in [pool.submit(_work, folder / f"home{each}", todo, seed + each) for each in range(_HOMES)]:
            part = done.result()
            report.flips += part.flips
            report.outcomes += part.outcomes
            report.problems += part.problems
    return report


def _work(folder: Path, todo: Queue[str], seed: int) -> FlipReport:
    """Take kinds and flip a bit in each until none is left."""
    living = Living(folder)
    try:
        trials = _Trials(living, seed)
        with suppress(Empty):
            while True:
                trials.play(todo.get_nowait())
        return trials.report
    finally:
        living.close()


class _Trials:
    """Trials over one home, which is put back as it was before each."""

    def __init__(self, living: Living, seed: int) -> None:
        self.report = FlipReport()
        self._living = living
        self._coin = random.Random(seed)
        self._number = 0
        self._sound = living.stage.folder / "sound"
        make_home(living)
        _copy(living.home.root, self._sound)
        refused = living.start(0.05)
        if refused:
            raise TrialError(refused)
        live = regions(living.home.root)
        self._truth = truth_of(living)
        found: frozenset[str] = frozenset(region.kind for region in (*live, *regions(self._sound)) if not region.free)
        if found != KINDS:
            raise TrialError(f"the home does not have what KINDS says: {sorted(found ^ KINDS)}")

    def play(self, kind: str) -> None:
        """Damage a region of a kind once and look at what comes of it."""
        living = self._living
        living.stage.kill(("collector", "drain"), ())
        _copy(self._sound, living.home.root)
        self._number += 1
        beside = self._number % _OFTEN == 0
        if beside or not any(region.kind == kind for region in regions(living.home.root)):
            beside = True
            living.start(0.2, forward=kind == _FORWARDED)
        trial = self._trial(kind)
        self.report.flips[kind] += 1
        try:
            trial.play(self._number, beside=beside)
            problems = trial.compare()
        except (TrialError, LivespanError, duckdb.Error, OSError) as error:
            problems = [f"{type(error).__name__}: {str(error)[:3000]}"]
        self.report.outcomes += trial.outcomes
        self.report.problems += [f"{trial}{' beside the collector' * beside}: {problem}" for problem in problems]
        self.report.problems += [f"{trial}: {problem}" for problem in trial.problems]

    def _trial(self, kind: str) -> _Trial:
        """Choose a bit. A collector that runs may take a file away meanwhile."""
        for _ in range(_CHOICES):
            found = [region for region in regions(self._living.home.root) if region.kind == kind]
            if not found:
                break
            region = self._coin.choice(found)
            at, bit = self._coin.randrange(region.start, region.end), self._coin.randrange(8)
            with suppress(FileNotFoundError):
                return _Trial(self._living, self._truth, region, at, bit)
        raise TrialError(f"the home has nothing of the kind {kind}")


class _Trial:
    """One flipped bit."""

    def __init__(self, living: Living, truth: Truth, region: Region, at: int, bit: int) -> None:
        self.problems: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self._living = living
        self._truth = truth
        self._region = region
        self._at = at
        self._bit = bit
        self._said = ""
        self._healed = False
        self._good = region.path.read_bytes()
        self._lost: set[Row] = _held_by(region, self._good)

    def __str__(self) -> str:
        name = self._region.path.relative_to(self._living.home.root)
        return f"{self._region.kind}, bit {self._bit} of {name}@{self._at}"

    def play(self, number: int, *, beside: bool) -> None:
        """Flip it and go on with the home, to the end of a collector's life."""
        living, path = self._living, self._region.path
        data = bytearray(self._good)
        data[self._at] ^= 1 << self._bit
        with path.open("r+b") as file:  # in place, as a disk does it: who has it open sees it
            file.seek(self._at)
            file.write(bytes([data[self._at]]))
        self._said += self._verify()
        if beside:
            self._use(number)
            self._said += living.said()
            self._healed = not path.exists() or path.read_bytes()[self._at : self._at + 1] != bytes([data[self._at]])
            living.end(signal.SIGKILL)
        forward = self._region.kind == _FORWARDED
        refused = living.start(0.2, forward=forward)
        if refused:
            self._check_refusal(refused)
            self._lost.clear()
            path.write_bytes(self._good)
            if again := living.start(0.2, forward=forward):
                raise TrialError(f"it does not start although the file was put back: {again[-1500:]}")
        self._use(number + 1_000_000)
        self._said += living.said()
        living.end(signal.SIGTERM)
        self._said += living.said()

    def _live(self) -> frozenset[Path]:
        return live_files(self._living.home.root)

    def compare(self) -> list[str]:
        """Return what the lake lacks, or has twice, or has otherwise."""
        path, truth = self._region.path, self._truth
        damaged = path.suffix == ".parquet" and path.parent.name in ("nodes", "content") and bool(self._lost)
        read, problems = read_lake(self._living.home, frozenset({path} if damaged else ()))
        problems += self._differ(truth.nodes, read.nodes)
        content = {row for row in truth.content - read.content if row[:2] not in self._lost_nodes()}
        problems += [f"content is missing: {row}" for row in sorted(content)[:3]]
        states = [key for key, digest in truth.states.items() if read.states.get(key) != digest]
        problems += [f"a state is missing: {key}" for key in states if not self._lost][:3]
        harmed = bool(self._lost) and (
            any(not _went_on(read.nodes.get(key), row) for key, row in truth.nodes.items())
            or truth.content - read.content
        )
        reported = path.name in self._said
        # What was merged into another file since, read there against its checksums, is read no more.
        merged = path.suffix == ".parquet" and path.parent.name in ("nodes", "content") and path not in self._live()
        self.outcomes["reported" if reported else "no report"] += 1
        if not reported and (harmed or (self._region.kind.startswith(_TOLD) and not (self._healed or merged))):
            problems.append(f"it is reported nowhere: {self._said[-1500:]}")
        return problems

    def _lost_nodes(self) -> set[tuple[str, str]]:
        return {(run, node) for run, _, node in self._lost}

    def _differ(self, wanted: Mapping[Row, Row], found: Mapping[Row, Row]) -> list[str]:
        problems: list[str] = []
        for key, row in wanted.items():
            seen = found.get(key)
            if _went_on(seen, row):
                continue
            if key not in self._lost:
                problems.append(f"{key} was {_short(row)} and is {seen and _short(seen)}")
            elif seen and any(one is not None and one != other for one, other in zip(seen[4:8], row[4:8], strict=True)):
                problems.append(f"{key}, which lay in the damaged place, is told as {_short(seen)}, not {_short(row)}")
        return problems[:3]

    def _use(self, number: int) -> None:
        """Ask the collector, and play runs, old and new."""
        living = self._living
        try:
            self.problems += [f"SQL: {problem}" for problem in self._differ(self._truth.nodes, live_nodes(living))]
            self.outcomes["SQL answered"] += 1
        except LivespanError as error:
            self.outcomes["SQL refused"] += 1
            if not error.hint or (self._region.path.name not in str(error) and not error.hint.count("livespan verify")):
                self.problems.append(f"SQL is refused, and the file is not named: {error}")
        old = [OLD_RUNS[number % len(OLD_RUNS)], *LATE_RUNS]
        new = f"new-{number}"
        for told in living.agent(*old, new):
            if told["wrong"]:
                self.problems.append(f"wrong answers: {told['wrong']}")
            if told["run"] in old and told["tried"]:
                self.problems.append(f"effects again: {told['tried']}")
            if told["refused"]:
                self.outcomes["new run refused" if told["run"] == new else "old run refused"] += 1
                self.outcomes[f"refused: {told['refused'].partition(':')[0]}"] += 1
                if not told["refused"].rpartition(" | ")[2]:
                    self.problems.append(f"refused without a hint: {told['refused']}")
            elif told["run"] == new and len(told["tried"]) != STEPS:
                self.problems.append(f"a new run did {told['tried']}")
            else:
                self.outcomes["new run went on" if told["run"] == new else "old run went on"] += 1
                self._show(told["run"], is_new=told["run"] == new)

    def _show(self, run: str, *, is_new: bool) -> None:
        """Have a run shown: a new one lies in no file that was damaged."""
        try:
            if self._living.show(run) < STEPS:
                self.problems.append(f"{run} is shown without its nodes")
            self.outcomes["run shown"] += 1
        except LivespanError as error:
            self.outcomes["run not shown"] += 1
            if is_new or self._region.path.name not in str(error):
                self.problems.append(f"{run} is not shown, or the file is not named: {error}")

    def _check_refusal(self, said: str) -> None:
        self.outcomes["start refused"] += 1
        self._said += said
        line = next((line for line in said.splitlines() if line.startswith("REFUSED ")), "")
        if self._region.kind not in _IDENTITY or self._region.path.name not in line or line.endswith("| "):
            raise TrialError(f"it does not start, or does not say which file and what to do: {said[-2500:]}")

    def _verify(self) -> str:
        faults = [fault for _, part in verified(self._living.home) for fault in part.faults]
        notes = [note for _, part in verified(self._living.home) for note in part.notes]
        return "".join(f"verify: {fault.file}@{fault.offset}: {fault.what}\n" for fault in faults) + "\n".join(notes)


def _went_on(seen: Row | None, row: Row) -> bool:
    """Return whether a node is as it was, or was open and has gone on since."""
    return same(seen, row) or (seen is not None and row[_STATUS] == "RUNNING")


def _held_by(region: Region, data: bytes) -> set[Row]:
    """Return the nodes of which something lies in the damaged frame or file."""
    path = region.path
    if path.suffix == ".parquet" and path.parent.name in ("nodes", "content"):
        with duckdb.connect() as connection:
            columns = "run_id, generation, node_id" if path.parent.name == "nodes" else "run_id, 0, node_id"
            return set(connection.execute(f"SELECT {columns} FROM read_parquet('{path}')").fetchall())  # ours
    if region.kind.startswith("log: frame"):
        start = region.start if region.kind.endswith("header") else region.start - HEADER_SIZE
        header = read_header(data, start)
        payload = data[start + HEADER_SIZE : start + HEADER_SIZE + header.length]
        records = Request(payload).records(header.first_seq)
        return {(record.run_id, record.generation, record.node_id.hex()) for record in records}
    return set()


def _copy(source: Path, target: Path) -> None:
    """Make `target` what `source` is; sockets and FIFOs are made anew by who needs them."""

    def others(folder: str, names: Iterable[str]) -> list[str]:
        modes = {name: (Path(folder) / name).lstat().st_mode for name in names}
        return [name for name, mode in modes.items() if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)]

    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target, ignore=others)


def _short(row: Row) -> str:
    return str(tuple(str(value)[:30] for value in row))


def main() -> int:
    """`python -m tests.torture.flips FOLDER TIMES SEED [KIND]`."""
    report = flip_each_kind(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:5])
    print("\n".join(f"{kind}: {count}" for kind, count in sorted(report.flips.items())))
    print(dict(report.outcomes))
    print("\n".join(["", *report.problems]))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())

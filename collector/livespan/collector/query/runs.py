"""Runs and their nodes as people and pages see them: read by SQL, then what only the living collector knows is added.

in doubt    as the view `nodes` has it, unless a living process holds the run and may still settle it itself
reuse       RECORDED: ended with success in an attempt before the newest: the newest was answered from the record
            RE-EXECUTED: run by the newest attempt, and not the first try of its call
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from livespan.collector.query.ending import ending_of
from livespan.collector.query.engine import QueryEngine, Reading
from livespan.collector.query.planting import planted, step_of
from livespan.collector.query.shapes import Reuse, RunDetail, RunSummary, ShownNode, ShownRun
from livespan.collector.query.shown import Row, count_of, node_from_row, run_from_row, text_of
from livespan.proto.errors import InvalidInput, NotFound
from livespan.proto.foreign import Step
from livespan.proto.ids import trace_id
from livespan.proto.node import NodeStatus, NodeType, RunStatus

__all__ = ["Held", "Listing", "RunFilter", "list_runs", "show_run"]

Held: TypeAlias = Callable[[bytes], bool]
"""Whether a living process may still start and settle things in the run of this trace id."""

_UNFINISHED: Final = frozenset({RunStatus.RUNNING, RunStatus.INTERRUPTED, RunStatus.IN_DOUBT})
_STATUSES: Final = tuple(status.value for status in RunStatus)
_LIST: Final = """
    SELECT * FROM runs WHERE newest AND $1 IN ('', project) AND $2 IN ('', session) AND starts_with(run_id, $4)
    ORDER BY started_at DESC NULLS LAST, project, run_id
    LIMIT CASE WHEN $3 = 0 THEN 9223372036854775807 ELSE $3 END
"""
_NEWEST: Final = """
    WITH told AS (
        SELECT project, run_id, generation, min(started_at) AS started_at,
            arg_max(session, log_seq) FILTER (session IS NOT NULL) AS session
        FROM records WHERE kind <> 'thread' GROUP BY ALL
    )
    SELECT run_id FROM (
        SELECT * FROM told QUALIFY generation = max(generation) OVER (PARTITION BY project, run_id)
    )
    WHERE $1 IN ('', project) AND $2 IN ('', session) AND starts_with(run_id, $4)
    ORDER BY started_at DESC NULLS LAST, project, run_id LIMIT $3
"""
"""The ids alone of the runs that _LIST shows: everything else of a run is then read of these only."""
_RUN: Final = """
    SELECT * FROM runs WHERE project = $1 AND run_id = $2 AND CASE WHEN $3 = 0 THEN newest ELSE generation = $3 END
"""
_NODES: Final = """
    SELECT * FROM nodes WHERE project = $1 AND run_id = $2 AND generation = $3 AND kind <> 'attempt'
"""
_STATES: Final = """
    SELECT node_id, arg_max(digest, log_seq) AS digest FROM checkpoints
    WHERE project = $1 AND run_id = $2 AND generation = $3 GROUP BY node_id
"""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are listed; "" and 0 are all.

    Attributes:
        status: a RunStatus.
        tags: each must be there with this value.
        limit: at most this many, the newest.
        named: a run id; where there is none such, the beginning of some.

    Raises:
        InvalidInput: there is no such status.
    """

    project: str = ""
    status: str = ""
    session: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    limit: int = 0
    named: str = ""

    def __post_init__(self) -> None:
        if self.status and self.status not in _STATUSES:
            known = ", ".join(_STATUSES)
            raise InvalidInput(f"{self.status!r} is no status of a run", subject="runs", hint=f"One of: {known}.")

    def keeps(self, run: RunSummary) -> bool:
        """Return whether a run is wanted, by what SQL does not see: who holds it decides its status."""
        return self.status in ("", run.status) and self.tags.items() <= run.tags.items()


_ALL: Final = RunFilter()


@dataclass(frozen=True, slots=True)
class Listing:
    """Runs, newest first: of each id the newest generation. `left_out`: damaged files, whose rows are not in it."""

    runs: list[RunSummary]
    left_out: Sequence[Path]


def list_runs(engine: QueryEngine, held: Held, wanted: RunFilter = _ALL) -> Listing:
    """Return the runs that are wanted."""
    if wanted.named:
        exact = _listing(engine, held, wanted, [wanted.named])
        if exact.runs or exact.left_out:
            return exact
    return _listing(engine, held, wanted, None)


def _listing(engine: QueryEngine, held: Held, wanted: RunFilter, of: list[str] | None) -> Listing:
    in_sql = wanted.limit if not wanted.status and not wanted.tags else 0
    with engine.reading(of, whole=False) as reading:
        which = [wanted.project, wanted.session, in_sql, wanted.named]
        if in_sql and of is None:
            reading.narrow({text_of(row, "run_id") for row in reading.rows(_NEWEST, which)})
        rows = reading.rows(_LIST, which)
        left_out = reading.left_out
    found = filter(wanted.keeps, (_summary(row, is_held=_is_held(row, held)) for row in rows))
    return Listing(list(islice(found, wanted.limit or None)), left_out)


def show_run(engine: QueryEngine, held: Held, project: str, run_id: str, generation: int = 0) -> ShownRun:
    """Return a run and its nodes; generation 0 is the newest.

    Raises:
        NotFound: nothing is recorded of it.
    """
    with engine.reading([run_id]) as reading:
        found = reading.rows(_RUN, [project, run_id, generation])
        if not found:
            raise NotFound("there is no such run", subject=f"run {run_id}", hint="`livespan runs list` shows the runs.")
        is_held = _is_held(found[0], held)
        nodes = _nodes(reading, found[0], is_held=is_held)
        summary = _summary(found[0], is_held=is_held)
        ending = ending_of(reading, found[0], summary.status, nodes)
    detail = RunDetail(
        **msgspec.structs.asdict(summary),
        attempts=count_of(found[0], "attempts"),
        user=text_of(found[0], "user_id"),
        ending=ending,
    )
    return ShownRun(run=detail, nodes=nodes)


def _summary(row: Row, *, is_held: bool) -> RunSummary:
    """Return a run; who holds it is known to the living collector, not to what it recorded."""
    status, in_doubt = text_of(row, "status"), count_of(row, "in_doubt")
    if status in _UNFINISHED and is_held:
        status, in_doubt = RunStatus.RUNNING.value, 0
    elif status == RunStatus.RUNNING:
        status = RunStatus.IN_DOUBT.value if in_doubt else RunStatus.INTERRUPTED.value
    return run_from_row(row, status=status, in_doubt=in_doubt)


def _is_held(run: Row, held: Held) -> bool:
    return held(trace_id(text_of(run, "project"), text_of(run, "run_id"), count_of(run, "generation")))


def _nodes(reading: Reading, run: Row, *, is_held: bool) -> list[ShownNode]:
    which = [text_of(run, "project"), text_of(run, "run_id"), count_of(run, "generation")]
    digests = {text_of(row, "node_id"): text_of(row, "digest") for row in reading.rows(_STATES, which)}
    attempts = count_of(run, "attempts")
    found: list[tuple[int, int, Step, ShownNode]] = []
    for row in reading.each(_NODES, which):
        in_doubt = row["in_doubt"] is True and not is_held
        shown = node_from_row(
            row,
            state_digest=digests.get(text_of(row, "node_id"), ""),
            in_doubt=in_doubt,
            conflict=row["conflict"] is True,
            reuse="IN DOUBT" if in_doubt else _reuse(row, attempts),
        )
        last = count_of(row, "log_seq")
        found.append((count_of(row, "started_seq") or last, last, step_of(row), shown))
    found.sort(key=itemgetter(0, 1))  # not by SQL, which would hold every column of every row for it
    return planted([step for _, _, step, _ in found], [node for _, _, _, node in found])


def _reuse(row: Row, newest_attempt: int) -> Reuse:
    if newest_attempt <= 1 or row["type"] == NodeType.BRANCH:
        return ""  # a scope is re-entered, never answered
    if count_of(row, "attempt") < newest_attempt:
        return "RECORDED" if row["status"] == NodeStatus.SUCCESS else ""
    return "RE-EXECUTED" if count_of(row, "try_number") > 0 else ""

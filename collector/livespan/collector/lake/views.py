"""The views that people ask: SQL over the two tables, the same in `lake/views.sql` for plain DuckDB and in the query
engine.

    records ◀─ `nodes` table, each record once          content ◀─ `content` table
       ├─ nodes        the newest of each node, settled by its verdict      ├─ effects     nodes with a side effect
       ├─ checkpoints  with their bytes; LangGraph's threads' too           └─ llm_calls   PROMPTs, each call once
       └─ runs         one row a generation: status, counts, tokens

Each window is partitioned by run, so that a condition on a run reaches the files. `records` and `nodes` are made of
two parts each, so that windows run over few rows only:

    plain, beside      untouched plain runs (lake/touched.py), as their rows stand       ─┐
    mixed ─▶ windows   all the rest: other files, rows not published, touched plain runs ─┴▶ records, nodes

Where it is known that there is no such rest, the views are made without windows: DuckDB takes four times as long to
plan those, over no rows at all, as to read a plain run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from livespan.collector.lake.file_names import Role, role_of
from livespan.collector.lake.literals import path_literal, text_literal
from livespan.collector.lake.schema import CONTENT_COLUMNS, NODE_COLUMNS

__all__ = [
    "Relations",
    "by_role",
    "is_plain",
    "is_whole",
    "mixed_nodes",
    "relation",
    "relations",
    "view_statements",
    "views_text",
    "windowed",
]

_SQL_TYPES: Final = {
    "text": "VARCHAR",
    "int": "BIGINT",
    "float": "DOUBLE",
    "flag": "BOOLEAN",
    "time": "TIMESTAMPTZ",
    "bytes": "BLOB",
}
_HEAD: Final = "-- Views over what is published. DuckDB alone reads them: duckdb -init views.sql\n"
_SUM: Final = "-- SHA-256 of what follows: "
_RUN: Final = "project, run_id, generation"
_SAME_CALL: Final = (
    f"{_RUN}, type, status = 'FAILED', input_tokens, output_tokens,"
    " CASE WHEN coalesce(input_tokens, output_tokens) IS NULL THEN model END"
)
"""What two instrumentations say alike of one model call; see proto/foreign/echoes.py."""

_ONCE: Final = f"""
QUALIFY row_number() OVER (
    PARTITION BY {_RUN}, writer,
        CASE WHEN writer = '' THEN log_seq ELSE writer_seq END, CASE WHEN writer = '' THEN log_id END
    ORDER BY log_seq
) = 1"""

_RECORDS: Final = """
SELECT plain.* FROM plain ANTI JOIN touched ON plain.run_id = touched.run_id
UNION ALL BY NAME
SELECT beside.* FROM beside ANTI JOIN touched ON beside.run_id = touched.run_id
UNION ALL BY NAME
SELECT * FROM mixed"""

_PLAIN_RECORDS: Final = """
SELECT * FROM plain
UNION ALL BY NAME
SELECT * FROM beside"""

_TOUCHED: Final = """
UNION ALL BY NAME SELECT plain.* FROM plain SEMI JOIN touched ON plain.run_id = touched.run_id
UNION ALL BY NAME SELECT beside.* FROM beside SEMI JOIN touched ON beside.run_id = touched.run_id"""

_MIXED_NODES: Final = f"""
WITH told AS (
    SELECT *,
        arg_max(
            {{
                'kind': kind, 'status': status, 'log_seq': log_seq, 'settled': settled, 'settled_by': settled_by,
                'ended_at': ended_at, 'ended_ns': ended_ns, 'output': output, 'output_digest': output_digest,
                'output_size_bytes': output_size_bytes
            }}, log_seq
        ) FILTER (kind = 'settled') OVER (PARTITION BY {_RUN}, node_id) AS verdict,
        arg_max(lease_event, log_seq) FILTER (kind = 'lease' AND lease_event <> 'cancelled')
            OVER (PARTITION BY {_RUN}) = 'granted' AS running
    FROM mixed WHERE kind IN ('started', 'ended', 'settled', 'attempt', 'foreign', 'lease')
), newest AS (
    SELECT * FROM told WHERE kind <> 'lease'
    QUALIFY row_number() OVER (
        PARTITION BY {_RUN}, node_id
        ORDER BY CASE kind WHEN 'ended' THEN 2 WHEN 'settled' THEN 0 WHEN 'foreign' THEN -1 ELSE 1 END DESC,
            log_seq DESC
    ) = 1
), own AS (
    SELECT *, row_number() OVER (
        PARTITION BY {_RUN}, coalesce(call_key, node_id) ORDER BY try_number DESC NULLS LAST, log_seq DESC
    ) = 1 AS newest_try,
    coalesce(
        kind = 'foreign' AND type = 'PROMPT' AND state_size_bytes IS NULL AND max(ended_ns) OVER same_call >= ended_ns
            AND max(ended_ns) OVER same_call > coalesce(max(ended_ns) OVER same_framework, 0),
        false
    ) AS echo
    FROM newest
    WINDOW same_call AS (
        PARTITION BY {_SAME_CALL} ORDER BY started_ns, ended_ns DESC, node_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), same_framework AS (
        PARTITION BY {_SAME_CALL}, framework ORDER BY started_ns, ended_ns DESC, node_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
SELECT
    own.* EXCLUDE (newest_try, verdict, running) REPLACE (
        coalesce(verdict.kind, own.kind) AS kind,
        coalesce(verdict.status, own.status) AS status,
        coalesce(verdict.log_seq, own.log_seq) AS log_seq,
        coalesce(verdict.settled, own.settled) AS settled,
        coalesce(verdict.settled_by, own.settled_by) AS settled_by,
        coalesce(own.ended_at, verdict.ended_at) AS ended_at,
        coalesce(own.ended_ns, verdict.ended_ns) AS ended_ns,
        CASE verdict.settled WHEN 'done' THEN false WHEN 'not_done' THEN true ELSE own.not_done END AS not_done,
        CASE WHEN verdict.settled IS NULL THEN own.output ELSE verdict.output END AS output,
        CASE WHEN verdict.settled IS NULL THEN own.output_digest ELSE verdict.output_digest END AS output_digest,
        CASE WHEN verdict.settled IS NULL THEN own.output_size_bytes ELSE verdict.output_size_bytes END
            AS output_size_bytes,
        CASE WHEN verdict.settled = 'done' THEN NULL ELSE own.error_type END AS error_type,
        CASE WHEN verdict.settled = 'done' THEN NULL ELSE own.error_message END AS error_message,
        CASE WHEN verdict.settled = 'done' THEN NULL ELSE own.error_traceback END AS error_traceback,
        CASE WHEN verdict.settled = 'done' THEN NULL ELSE own.error_value END AS error_value
    ),
    coalesce(own.effect, false) AND verdict.settled IS NULL AND own.newest_try AND (
        (own.status = 'RUNNING' AND NOT coalesce(own.running, false))
        OR (own.status = 'FAILED' AND NOT coalesce(own.not_done, false))
    ) AS in_doubt,
    verdict.settled IS NOT NULL AND own.kind = 'ended' AND own.log_seq > verdict.log_seq AND CASE
        WHEN own.status = 'SUCCESS' THEN verdict.settled <> 'done'
            OR coalesce(own.output_digest, own.output, '') <> coalesce(verdict.output_digest, verdict.output, '')
        ELSE coalesce(own.not_done, false) AND verdict.settled = 'done'
    END AS conflict
FROM own"""  # noqa: S608  # nothing but names of columns

_NODES: Final = f"""
SELECT plain.*, false AS echo, false AS in_doubt, false AS conflict
FROM plain ANTI JOIN touched ON plain.run_id = touched.run_id
UNION ALL BY NAME
({_MIXED_NODES.strip()})"""  # noqa: S608  # as above

_PLAIN_NODES: Final = "SELECT plain.*, false AS echo, false AS in_doubt, false AS conflict FROM plain"

_RUNS: Final = f"""
WITH told AS (
    SELECT {_RUN},
        arg_max(session, log_seq) FILTER (session IS NOT NULL) AS session,
        arg_max(tags, log_seq) FILTER (tags IS NOT NULL) AS tags,
        max(attempt) AS attempts,
        min(started_at) AS started_at,
        max(ended_at) AS last_at,
        arg_max(lease_event, log_seq) FILTER (kind = 'lease' AND lease_event <> 'cancelled') AS lease_event,
        count(*) FILTER (kind = 'lease' AND lease_event = 'cancelled') > 0 AS cancelled,
        arg_max(CASE WHEN kind = 'attempt' THEN json_extract_string(attributes, '$."enduser.id"') END, log_seq)
            FILTER (kind = 'attempt') AS user_id,
        max(epoch) FILTER (kind = 'lease' AND lease_event = 'granted') AS granted_epoch,
        arg_max(status, log_seq) FILTER (kind = 'ended' AND root) AS root_status,
        arg_max(epoch, log_seq) FILTER (kind = 'ended' AND root) AS root_epoch,
        arg_max(ended_at, log_seq) FILTER (kind = 'ended' AND root) AS root_ended_at,
        bool_and(kind = 'foreign') AS foreign_only,
        count(*) FILTER (kind = 'foreign' AND parent_id IS NULL AND status = 'FAILED') AS foreign_failed
    FROM records WHERE kind <> 'thread' GROUP BY ALL
), counted AS (
    SELECT {_RUN},
        greatest(
            count(*) FILTER (kind <> 'attempt' AND NOT echo AND NOT (kind = 'foreign' AND type = 'BRANCH')),
            CAST(bool_and(kind = 'foreign') AS BIGINT)
        ) AS nodes,
        count(DISTINCT coalesce(idempotency_key, node_id)) FILTER (effect) AS effects,
        count(*) FILTER (in_doubt) AS in_doubt,
        count(*) FILTER (conflict) AS conflicts,
        CAST(least(greatest(coalesce(sum(input_tokens) FILTER (NOT echo), 0), 0), 9223372036854775807) AS BIGINT)
            AS input_tokens,
        CAST(least(greatest(coalesce(sum(output_tokens) FILTER (NOT echo), 0), 0), 9223372036854775807) AS BIGINT)
            AS output_tokens
    FROM nodes GROUP BY ALL
), judged AS (
    SELECT told.*, counted.* EXCLUDE ({_RUN}),
        CASE
            WHEN foreign_only THEN CASE WHEN foreign_failed > 0 THEN 'failed' ELSE 'done' END
            WHEN root_status = 'SUCCESS' THEN 'done'
            WHEN cancelled THEN 'cancelled'
            WHEN root_status = 'FAILED' AND coalesce(granted_epoch, 0) <= root_epoch
                THEN CASE WHEN in_doubt > 0 THEN 'in_doubt' ELSE 'failed' END
            WHEN lease_event = 'granted' THEN 'running'
            WHEN in_doubt > 0 THEN 'in_doubt'
            ELSE 'interrupted'
        END AS status
    FROM told LEFT JOIN counted USING ({_RUN})
)
SELECT run_id, project, generation, session, user_id, coalesce(tags, '{{}}') AS tags, status,
    coalesce(nodes, 0) AS nodes, coalesce(effects, 0) AS effects, coalesce(in_doubt, 0) AS in_doubt,
    coalesce(conflicts, 0) AS conflicts, coalesce(input_tokens, 0) AS input_tokens,
    coalesce(output_tokens, 0) AS output_tokens, attempts, started_at,
    CASE WHEN foreign_only THEN last_at WHEN status IN ('done', 'failed') THEN root_ended_at END AS ended_at,
    generation = max(generation) OVER (PARTITION BY project, run_id) AS newest
FROM judged"""  # noqa: S608  # as above

_CHECKPOINTS: Final = """
SELECT r.project, r.run_id, r.generation, r.node_id, r.scope, r.checkpoint_id, r.attempt, r.epoch,
    r.started_at AS taken_at, r.log_seq, r.checkpoint_counters, r.state_size_bytes AS size_bytes, coalesce(c.digest,
    r.state_digest) AS digest,
    c.bytes AS state,
    CASE WHEN r.kind = 'thread' THEN substr(r.run_id, 8) END AS thread_id,
    r.metadata,
    r.kind = 'thread' AND EXISTS (
        SELECT 1 FROM records gone
        WHERE gone.kind = 'thread' AND gone.name = 'deleted' AND gone.project = r.project AND gone.run_id = r.run_id
            AND gone.log_seq > r.log_seq
            AND (gone.checkpoint_id = '' OR (gone.checkpoint_id = r.checkpoint_id AND gone.scope = r.scope))
    ) AS deleted
FROM records r LEFT JOIN content c
    ON c.kind = 'state' AND c.project = r.project AND c.run_id = r.run_id
    AND c.log_seq = r.log_seq AND c.log_id = r.log_id
WHERE r.kind = 'checkpoint' OR (r.kind = 'foreign' AND r.state_size_bytes IS NOT NULL)
    OR (r.kind = 'thread' AND r.name = 'checkpoint')"""


@dataclass(frozen=True, slots=True)
class Relations:
    """What the views are over, each a SELECT: all rows of the files by role (lake/file_names.py), `part` with the rows
    that are not published; `touched`, the ids of the plain runs that have rows elsewhere.
    """

    plain: str
    beside: str
    part: str
    content: str
    touched: str


def relations(nodes: Sequence[Path], content: Sequence[Path], touched: Collection[str] | None) -> Relations:
    """Return the relations of these files.

    Args:
        touched: ids of plain runs with rows elsewhere; None: it is not known which, so no run is taken as plain.
    """
    plain, beside, part = (relation(files, NODE_COLUMNS) for files in by_role(nodes, touched).values())
    return Relations(plain, beside, part, relation(content, CONTENT_COLUMNS), _listed(touched or ()))


def by_role(nodes: Sequence[Path], touched: Collection[str] | None) -> dict[Role, list[Path]]:
    """Return these files by how they are read; `touched` as in `relations`."""
    files: dict[Role, list[Path]] = {role: [] for role in Role}
    for path in nodes:
        files[role_of(path) if touched is not None else Role.PART].append(path)
    return files


def is_plain(nodes: Sequence[Path], touched: Collection[str] | None, hot: int) -> bool:
    """Return whether these files have untouched plain runs alone, and there are no rows beside them.

    Args:
        touched: as in `relations`.
        hot: how many rows there are that are not published.
    """
    return not hot and touched is not None and not touched and not by_role(nodes, touched)[Role.PART]


def view_statements(over: Relations, *, is_plain: bool = False) -> list[str]:
    """Return the statements that make the views, in their order.

    Args:
        is_plain: `part` and `touched` have no rows (and the relations keep every column all the same): the views are
            then the plain rows as they stand.
    """
    views = {
        "content": over.content,
        "plain": over.plain,
        "beside": over.beside,
        "touched": over.touched,
        "mixed": over.part if is_plain else windowed(f"{over.part} {_TOUCHED}"),
        "records": _PLAIN_RECORDS if is_plain else _RECORDS,
        "nodes": _PLAIN_NODES if is_plain else _NODES,
        "runs": _RUNS,
        "effects": "SELECT * FROM nodes WHERE effect",
        "llm_calls": "SELECT * FROM nodes WHERE type = 'PROMPT' AND NOT echo",
        "checkpoints": _CHECKPOINTS,
    }
    return [f"CREATE OR REPLACE VIEW {name} AS {sql.strip()}" for name, sql in views.items()]


def mixed_nodes() -> str:
    """Return the SELECT of `nodes` over the view `mixed` alone."""
    return _MIXED_NODES


def windowed(rows_sql: str) -> str:
    """Return a SELECT of these rows, each record once."""
    return f"WITH published AS ({rows_sql}) SELECT * FROM published {_ONCE}"  # noqa: S608  # SQL of ours


def relation(files: Sequence[Path], columns: Mapping[str, str]) -> str:
    """Return a SELECT of all rows of these files; of none, one with the same columns and no rows."""
    if files:
        listed = ",\n    ".join([path_literal(path) for path in files])
        return f"SELECT * FROM read_parquet([\n    {listed}\n], union_by_name = true)"  # noqa: S608  # paths are quoted
    typed = ", ".join([f'CAST(NULL AS {_SQL_TYPES[kind]}) AS "{name}"' for name, kind in columns.items()])
    return f"SELECT {typed} WHERE false"


def views_text(nodes: Sequence[Path], content: Sequence[Path], touched: Collection[str] | None) -> str:
    """Return the text of `lake/views.sql` over these files; its second line holds the SHA-256 of what follows."""
    body = "".join([f"{statement};\n\n" for statement in view_statements(relations(nodes, content, touched))])
    return f"{_HEAD}{_SUM}{hashlib.sha256(body.encode()).hexdigest()}\n{body}"


def is_whole(text: bytes) -> bool:
    """Return whether a `views.sql` is as some version of Livespan wrote it."""
    head, _, rest = text.partition(_SUM.encode())
    told, _, body = rest.partition(b"\n")
    return head == _HEAD.encode() and told.decode("ascii", "replace") == hashlib.sha256(body).hexdigest()


def _listed(runs: Collection[str]) -> str:
    """Return a SELECT of these run ids."""
    if not runs:
        return "SELECT CAST(NULL AS VARCHAR) AS run_id WHERE false"
    rows = ",\n    ".join([f"({text_literal(run)})" for run in sorted(runs)])
    return f"SELECT run_id FROM (VALUES\n    {rows}\n) AS listed(run_id)"  # noqa: S608  # quoted

"""The views as windows over every row that there is: what those of the lake, which pass over most, must agree with.

Never edited with the lake's: where the meaning of a view changes, it changes here by a commit that says so.
"""

from __future__ import annotations

from typing import Final

__all__ = ["whole_views"]

_RUN: Final = "project, run_id, generation"
_SAME_CALL: Final = (
    f"{_RUN}, type, status = 'FAILED', input_tokens, output_tokens,"
    " CASE WHEN coalesce(input_tokens, output_tokens) IS NULL THEN model END"
)
_RECORDS: Final = f"""
SELECT * FROM published
QUALIFY row_number() OVER (
    PARTITION BY {_RUN}, writer,
        CASE WHEN writer = '' THEN log_seq ELSE writer_seq END, CASE WHEN writer = '' THEN log_id END
    ORDER BY log_seq
) = 1"""

_NODES: Final = f"""
WITH newest AS (
    SELECT * FROM records WHERE kind IN ('started', 'ended', 'settled', 'attempt', 'foreign')
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
), verdict AS (
    SELECT * FROM records WHERE kind = 'settled'
    QUALIFY row_number() OVER (PARTITION BY {_RUN}, node_id ORDER BY log_seq DESC) = 1
), life AS (
    SELECT {_RUN}, arg_max(lease_event, log_seq) = 'granted' AS running FROM records
    WHERE kind = 'lease' AND lease_event <> 'cancelled' GROUP BY ALL
)
SELECT
    own.* EXCLUDE (newest_try) REPLACE (
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
        (own.status = 'RUNNING' AND NOT coalesce(life.running, false))
        OR (own.status = 'FAILED' AND NOT coalesce(own.not_done, false))
    ) AS in_doubt,
    verdict.settled IS NOT NULL AND own.kind = 'ended' AND own.log_seq > verdict.log_seq AND CASE
        WHEN own.status = 'SUCCESS' THEN verdict.settled <> 'done'
            OR coalesce(own.output_digest, own.output, '') <> coalesce(verdict.output_digest, verdict.output, '')
        ELSE coalesce(own.not_done, false) AND verdict.settled = 'done'
    END AS conflict
FROM own
LEFT JOIN verdict USING ({_RUN}, node_id)
LEFT JOIN life USING ({_RUN})"""

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
FROM judged"""

_CHECKPOINTS: Final = """
SELECT r.project, r.run_id, r.generation, r.node_id, r.scope, r.checkpoint_id, r.attempt, r.epoch,
    r.started_at AS taken_at, r.log_seq, r.checkpoint_counters, r.state_size_bytes AS size_bytes, coalesce(c.digest,
    r.state_digest) AS digest,
    c.bytes AS state,
    CASE WHEN r.kind = 'thread' THEN substr(r.run_id, 8) END AS thread_id,
    r.metadata,
    r.kind = 'thread' AND coalesce(
        r.log_seq < (
            SELECT max(log_seq) FROM records WHERE kind = 'thread' AND name = 'deleted' AND checkpoint_id = ''
                AND project = r.project AND run_id = r.run_id
        ), false
    ) OR r.kind = 'thread' AND coalesce(
        r.log_seq < (
            SELECT max(log_seq) FROM records WHERE kind = 'thread' AND name = 'deleted'
                AND checkpoint_id = r.checkpoint_id AND scope = r.scope AND project = r.project AND run_id = r.run_id
        ), false
    ) AS deleted
FROM records r LEFT JOIN content c
    ON c.kind = 'state' AND c.project = r.project AND c.run_id = r.run_id
    AND c.log_seq = r.log_seq AND c.log_id = r.log_id
WHERE r.kind = 'checkpoint' OR (r.kind = 'foreign' AND r.state_size_bytes IS NOT NULL)
    OR (r.kind = 'thread' AND r.name = 'checkpoint')"""


def whole_views(nodes_sql: str, content_sql: str) -> list[str]:
    """Return the statements that make the views over a SELECT of all rows of `nodes` and of `content`."""
    views = {
        "content": content_sql,
        "records": f"WITH published AS ({nodes_sql}){_RECORDS}",
        "nodes": _NODES,
        "runs": _RUNS,
        "effects": "SELECT * FROM nodes WHERE effect",
        "llm_calls": "SELECT * FROM nodes WHERE type = 'PROMPT' AND NOT echo",
        "checkpoints": _CHECKPOINTS,
    }
    return [f"CREATE OR REPLACE VIEW {name} AS {sql.strip()}" for name, sql in views.items()]

"""The names of span attributes. OpenTelemetry's GenAI names wherever the convention has one, `livespan.*` for what it
lacks.

A journal span is one *record* of a node (record.py). Its resource carries what is the same for all records of a run's
life (project, run, session, tags, attempt, epoch, writer), its span what is the record's own.
"""

from __future__ import annotations

from typing import Final

# Resource: the run and the life it is in.
SERVICE_NAME: Final = "service.name"
PROJECT: Final = "livespan.project"
RUN_ID: Final = "livespan.run.id"
GENERATION: Final = "livespan.run.generation"
SESSION: Final = "gen_ai.conversation.id"
TAG_PREFIX: Final = "livespan.tag."
ATTEMPT: Final = "livespan.attempt"
EPOCH: Final = "livespan.epoch"
WRITER: Final = "livespan.writer"

# Span: every record.
RECORD: Final = "livespan.record"
WRITER_SEQ: Final = "livespan.writer.seq"
NODE_TYPE: Final = "livespan.node.type"
NODE_ID: Final = "livespan.node.id"
"""On mirrored spans alone, whose own ids are their provider's: the node in the record."""
SCOPE: Final = "livespan.scope"
FRAMEWORK: Final = "livespan.framework"

# Span: a run's root, where its caller had a span open.
CALLER_TRACE_ID: Final = "livespan.caller.trace_id"
CALLER_SPAN_ID: Final = "livespan.caller.span_id"
"""Hex, as OpenTelemetry writes them. On the wire the root bears a span link to them as well; it joins no trace."""

# Span: a call.
CALL_KEY: Final = "livespan.call.key"
CALL_DIGEST: Final = "livespan.call.digest"
OCCURRENCE: Final = "livespan.call.occurrence"
TRY: Final = "livespan.call.try"
RETRY_AFTER_S: Final = "livespan.call.retry_after_s"
"""On the end of a try that failed and is followed by another: seconds to wait in between. The program never saw its
error."""
ISSUED: Final = "livespan.call.issued"
EFFECT: Final = "livespan.effect"
IDEMPOTENCY_KEY: Final = "livespan.effect.idempotency_key"
NOT_DONE: Final = "livespan.effect.not_done"
UNRECORDABLE: Final = "livespan.output.unrecordable"
INPUT: Final = "livespan.input"
OUTPUT: Final = "livespan.output"
METADATA: Final = "livespan.metadata"

# Span: a model's or a tool's own words.
OPERATION: Final = "gen_ai.operation.name"
MODEL: Final = "gen_ai.request.model"
PROVIDER: Final = "gen_ai.provider.name"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"

# Span: an error as an outcome.
ERROR_TYPE: Final = "error.type"
ERROR_MESSAGE: Final = "exception.message"
ERROR_TRACEBACK: Final = "exception.stacktrace"
ERROR_VALUE: Final = "livespan.error.value"
"""The exception itself, by codec, where one holds it: so that a resume raises the same type again."""
ERROR_NODE: Final = "livespan.error.node"
"""On a scope's end: the nodes (hex, separated by commas) whose error ended it."""
CANCELLED: Final = "livespan.cancelled"
"""True on the end of a call that was ended from outside: cancelled, or interrupted."""

# Span: a checkpoint.
CHECKPOINT_ID: Final = "livespan.checkpoint.id"
CHECKPOINT_COUNTERS: Final = "livespan.checkpoint.counters"
"""JSON: where the program stood; see instrumentation's core/place.py."""
STATE: Final = "livespan.state"
STATE_DIGEST: Final = "livespan.state.digest"

# Span: an attempt, a cancelled run.
USER: Final = "enduser.id"
"""On an attempt: on whose behalf it was started, where the program said so."""
CANCELLED_BY: Final = "livespan.cancelled.by"

# Span: an attempt, a lease, a settlement, a gap, a scope's end.
LEASE_EVENT: Final = "livespan.lease.event"
HOLDER: Final = "livespan.lease.holder"
REUSED: Final = "livespan.attempt.reused"
ARGV: Final = "livespan.attempt.argv"
CWD: Final = "livespan.attempt.cwd"
ENVIRONMENT: Final = "livespan.attempt.environment"
FINGERPRINT: Final = "livespan.attempt.fingerprint"
SETTLED: Final = "livespan.settled"
"""How doubt was settled: `done` (the output attribute holds the outcome) or `not_done`."""
SETTLED_BY: Final = "livespan.settled.by"
UNRECORDED: Final = "livespan.gap.unrecorded"

LARGE_BYTES: Final = 16 * 1024
"""Inputs and outputs above this size, and every state, are kept in the content table, by digest."""

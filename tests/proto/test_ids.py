from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livespan.proto.ids import (
    attempt_node_id,
    call_key,
    content_digest,
    idempotency_key,
    input_digest,
    node_id,
    scope_node_id,
    trace_id,
)

TEXT = st.text(alphabet=st.characters(exclude_characters="\x1f"), max_size=8)


def test_ids_never_change_since_records_of_old_runs_hold_them() -> None:
    trace = trace_id("shop", "order-17")
    key = call_key("/", "TOOL", "charge", "00" * 16, "", 0)
    assert (len(trace), len(key), len(node_id(trace, key, 0)), len(scope_node_id(trace, "/"))) == (16, 32, 8, 8)
    assert idempotency_key(trace, key).startswith("ls-")
    assert content_digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert input_digest(b"") == "99aa06d3014798d86001c324468d497f"


@given(TEXT, TEXT, TEXT, TEXT)
def test_two_runs_never_share_a_trace(project: str, run: str, project_2: str, run_2: str) -> None:
    same = (project, run) == (project_2, run_2)
    assert (trace_id(project, run) == trace_id(project_2, run_2)) is same
    assert trace_id(project, run) != trace_id(project, run, 1)


def test_a_call_has_a_node_for_each_try_and_one_idempotency_key() -> None:
    trace = trace_id("p", "r")
    key = call_key("/", "TOOL", "charge", "d", "", 0)
    others = [call_key("/a", "TOOL", "charge", "d", "", 0), call_key("/", "TOOL", "charge", "d", "", 1)]
    nodes = {node_id(trace, key, attempt) for attempt in range(20)}
    assert len(nodes) == 20
    assert len({idempotency_key(trace, one) for one in [key, *others]}) == 3
    assert idempotency_key(trace, key) != idempotency_key(trace_id("p", "s"), key)
    assert len({scope_node_id(trace, "/"), attempt_node_id(trace, 1), attempt_node_id(trace, 2)}) == 3


def test_lone_surrogates_are_names_as_well() -> None:
    assert len(trace_id("p", "\ud800")) == 16
    assert len(call_key("/\ud800", "TOOL", "t\ud800", "d", "\ud800", 0)) == 32

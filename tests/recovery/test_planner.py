"""Plans of histories that are made by hand: the rules one by one, and the cases that broke the forerunner (d to f)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.collector.stand import STATE, Stand, Writer, node, request

from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.errors import Damaged, NotFound
from livespan.proto.ids import scope_node_id
from livespan.proto.otlp import Request
from livespan.proto.record import Record, RecordKind
from livespan.proto.span import WireSpan
from livespan.recovery.planner import Decision, Plan, PlannedBranch, RunHold, plan_run

A = "/~worker.0"


def history(*spans: WireSpan) -> RunHistory:
    run = RunHistory("shop", "order-17", 0)
    for record in Request(request(*spans)).records(1):
        run.add(record)
    return run


def planned(
    run: RunHistory, *, broken: Sequence[str] = (), hold: RunHold = RunHold.FREE, tail_unknown: bool = False
) -> Plan:
    def content(record: Record, what: str) -> bytes:
        assert what == "state"
        if record.text(names.CHECKPOINT_ID) in broken:
            raise Damaged("its bytes are not those that were recorded")
        return STATE

    return plan_run(run, content, hold, tail_unknown=tail_unknown)


def decisions(plan: Plan) -> dict[str, Decision]:
    return {one.node_id: one.decision for one in plan.decisions}


def reason(plan: Plan, node_id: bytes) -> str:
    [found] = [one.reason for one in plan.decisions if one.node_id == node_id.hex()]
    return found


def call(
    writer: Writer, number: int, *, scope: str = "/", key: str = "", try_number: int = 0, effect: bool = True
) -> WireSpan:
    return writer.span(
        RecordKind.STARTED,
        node(number),
        {
            names.NODE_TYPE: "TOOL" if effect else "PROMPT",
            names.SCOPE: scope,
            names.CALL_KEY: key or node(number).hex(),
            names.TRY: try_number,
            names.EFFECT: effect,
        },
    )


def scope(writer: Writer, path: str, kind: RecordKind = RecordKind.STARTED) -> WireSpan:
    own = scope_node_id(writer.trace, path)
    return writer.span(kind, own, {names.NODE_TYPE: "BRANCH", names.SCOPE: path}, name=path)


def checkpoint(writer: Writer, name: str, path: str) -> WireSpan:
    attributes = {names.SCOPE: path, names.CHECKPOINT_ID: name}
    return writer.span(RecordKind.CHECKPOINT, scope_node_id(writer.trace, path), dict(attributes), state=STATE)


def ended(writer: Writer, number: int, *, failed: bool = False, **attributes: bool) -> WireSpan:
    flags = {getattr(names, name.upper()): value for name, value in attributes.items()}
    return writer.span(RecordKind.ENDED, node(number), dict(flags), failed=failed)


def root_failed(writer: Writer, number: int) -> WireSpan:
    attributes = {names.NODE_TYPE: "BRANCH", names.SCOPE: "/", names.ERROR_NODE: node(number).hex()}
    return writer.span(RecordKind.ENDED, writer.root, dict(attributes), parent=b"", failed=True)


def test_d1_two_parallel_branches_each_go_on_from_their_own_checkpoint() -> None:
    writer = Writer()
    paths = ("/~worker.0", "/~worker.1")
    spans = [writer.root_record(RecordKind.STARTED), *(scope(writer, path) for path in paths)]
    plan = planned(history(*spans, checkpoint(writer, "a", paths[0]), checkpoint(writer, "b", paths[1])))
    root, *branches = plan.branches
    assert root == PlannedBranch("/", None, None)
    assert branches == [PlannedBranch(path, scope_node_id(writer.trace, path).hex(), len(STATE)) for path in paths]
    assert [decisions(plan)[branch.resume_node_id or ""] for branch in branches] == [Decision.RESTORE] * 2


def test_d2_an_effect_in_flight_on_one_branch_is_in_doubt_when_another_has_a_checkpoint() -> None:
    writer = Writer()
    spans = [scope(writer, A), scope(writer, "/~worker.1"), call(writer, 1, scope="/~worker.1")]
    plan = planned(history(*spans, checkpoint(writer, "a", A)))
    assert plan.in_doubt == [node(1).hex()]
    assert decisions(plan)[node(1).hex()] is Decision.IN_DOUBT


def test_d3_children_that_finished_before_the_parents_checkpoint_are_not_run_again() -> None:
    writer = Writer()
    spans = [writer.root_record(RecordKind.STARTED)]
    for number in (1, 2, 3):
        spans += [scope(writer, f"/~worker.{number}"), call(writer, number, scope=f"/~worker.{number}")]
        spans += [ended(writer, number), scope(writer, f"/~worker.{number}", RecordKind.ENDED)]
    plan = planned(history(*spans, writer.checkpoint(1)))
    assert [decisions(plan)[node(number).hex()] for number in (1, 2, 3)] == [Decision.SKIP] * 3
    assert Decision.REDO not in decisions(plan).values()
    assert plan.branches[0] == PlannedBranch("/", writer.root.hex(), len(STATE))


def test_d4_an_old_node_that_is_recorded_again_does_not_move_the_resume_point() -> None:
    writer = Writer()
    spans = [call(writer, 1), ended(writer, 1), writer.checkpoint(1), call(writer, 2), ended(writer, 2)]
    newest = checkpoint(writer, "c2", "/")
    again = Writer(name="w2", seq=90)
    before, after = history(*spans, newest), history(*spans, newest, ended(again, 1), call(again, 1))
    assert planned(after).branches == planned(before).branches
    assert decisions(planned(after)) == decisions(planned(before))
    assert len(planned(before, broken=["c1"]).branches) == 1, "the older state is not read"


def test_d5_a_sub_agent_is_a_branch_with_steps_and_state_of_its_own() -> None:
    writer = Writer()
    agent = "/@researcher"
    spans = [call(writer, 1), ended(writer, 1), scope(writer, agent), call(writer, 2, scope=agent, effect=False)]
    inner = agent + "/~worker.0"
    spans += [checkpoint(writer, "r", agent), scope(writer, inner), call(writer, 3, scope=inner)]
    plan = planned(history(*spans))
    assert [branch.scope for branch in plan.branches] == ["/", agent, inner]
    assert [branch.state_bytes for branch in plan.branches] == [None, len(STATE), None]
    assert decisions(plan)[node(2).hex()] is Decision.REDO
    assert plan.in_doubt == [node(3).hex()]


def test_d6_without_any_checkpoint_finished_effects_are_skipped_and_answers_reused() -> None:
    writer = Writer()
    spans = [writer.root_record(RecordKind.STARTED)]
    for number in (1, 2, 3):
        spans += [call(writer, number), ended(writer, number)]
    spans += [call(writer, 4, effect=False), ended(writer, 4)]
    plan = planned(history(*spans))
    assert plan.found
    assert plan.branches == [PlannedBranch("/", None, None)]
    assert [decisions(plan)[node(number).hex()] for number in (1, 2, 3, 4)] == [*[Decision.SKIP] * 3, Decision.REUSE]


def test_d7_the_same_span_in_two_runs_is_in_the_plan_of_each() -> None:
    plans: list[Plan] = []
    for run_id in ("one", "two"):
        writer = Writer(run_id=run_id)
        plans.append(planned(history(call(writer, 1), ended(writer, 1))))
    assert [decisions(plan)[node(1).hex()] for plan in plans] == [Decision.SKIP] * 2


def test_e_started_failed_declined_and_finished_effects_are_told_apart() -> None:
    writer = Writer()
    spans = [call(writer, 1), ended(writer, 1), call(writer, 2), call(writer, 3), ended(writer, 3, failed=True)]
    spans += [call(writer, 5), ended(writer, 5, failed=True, cancelled=True)]
    spans += [call(writer, 6, effect=False), ended(writer, 6), call(writer, 7, effect=False)]
    spans += [call(writer, 4), ended(writer, 4, failed=True, not_done=True)]
    plan = planned(history(*spans, root_failed(writer, 4)))
    assert [decisions(plan)[node(number).hex()] for number in range(1, 8)] == [
        Decision.SKIP,
        Decision.IN_DOUBT,
        Decision.SKIP,
        Decision.REDO,
        Decision.IN_DOUBT,
        Decision.REUSE,
        Decision.REDO,
    ]
    assert "the program went on: the same error is raised again" in reason(plan, node(3))
    assert "said that its effect did not happen" in reason(plan, node(4))
    assert plan.in_doubt == [node(2).hex(), node(5).hex()]


def test_an_effect_whose_error_ended_the_run_is_in_doubt_and_a_read_is_run_again() -> None:
    writer = Writer()
    one = planned(history(call(writer, 1), ended(writer, 1, failed=True), root_failed(writer, 1)))
    assert decisions(one)[node(1).hex()] is Decision.IN_DOUBT
    writer = Writer()
    two = planned(history(call(writer, 1, effect=False), ended(writer, 1, failed=True), root_failed(writer, 1)))
    assert decisions(two)[node(1).hex()] is Decision.REDO
    assert "ended by an error" in reason(two, writer.root)


def test_a_try_that_failed_and_is_to_be_tried_again_is_no_answer() -> None:
    writer = Writer()
    spans = [call(writer, 1, effect=False), call(writer, 2), call(writer, 3)]
    for number, not_done in ((1, False), (2, False), (3, True)):
        attributes = {names.RETRY_AFTER_S: 0.5, names.NOT_DONE: not_done}
        spans.append(writer.span(RecordKind.ENDED, node(number), dict(attributes), failed=True))
    plan = planned(history(*spans))
    found = [decisions(plan)[node(number).hex()] for number in (1, 2, 3)]
    assert found == [Decision.REDO, Decision.IN_DOUBT, Decision.REDO]
    assert "its policy tries it again" in reason(plan, node(1))


def test_what_came_between_the_error_and_the_end_need_not_be_asked_for() -> None:
    writer = Writer()
    spans = [call(writer, 1, effect=False), ended(writer, 1, failed=True), call(writer, 2, effect=False)]
    plan = planned(history(*spans, ended(writer, 2), root_failed(writer, 1)))
    assert "need not come to it" in reason(plan, node(2))


@pytest.mark.parametrize("damage", [Damaged("its bytes are others"), NotFound("the record has no state")])
def test_f_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(damage: Exception) -> None:
    writer = Writer()
    run = history(writer.checkpoint(1), writer.checkpoint(2), writer.checkpoint(3))
    read: list[str] = []

    def content(record: Record, _what: str) -> bytes:
        read.append(record.text(names.CHECKPOINT_ID))
        if read[-1] == "c3":
            raise damage
        return STATE[:7]

    plan = plan_run(run, content, RunHold.FREE, tail_unknown=False)
    assert plan.branches == [PlannedBranch("/", writer.root.hex(), 7)]
    assert read == ["c3", "c2"], "c1 was not needed"
    assert f"Passed over: checkpoint c3 of scope /: {damage.args[0]}." in reason(plan, writer.root)


def test_f_a_checkpoint_whose_place_cannot_be_read_is_passed_over() -> None:
    writer = Writer()
    torn = {names.SCOPE: "/", names.CHECKPOINT_ID: "c2", names.CHECKPOINT_COUNTERS: "{torn"}
    spans = [writer.checkpoint(1), writer.span(RecordKind.CHECKPOINT, writer.root, dict(torn), state=STATE)]
    plan = planned(history(*spans))
    assert plan.branches[0].state_bytes == len(STATE)
    assert "checkpoint c2 of scope /: its place in the program cannot be read" in reason(plan, writer.root)


def test_where_no_checkpoint_can_be_read_the_branch_goes_from_its_top_and_says_why() -> None:
    writer = Writer()
    plan = planned(history(call(writer, 1), ended(writer, 1), writer.checkpoint(1)), broken=["c1"])
    assert plan.branches == [PlannedBranch("/", None, None)]
    assert "No checkpoint of branch / can be read" in reason(plan, writer.root)
    assert decisions(plan)[node(1).hex()] is Decision.SKIP


def test_f_a_flipped_bit_in_the_newest_published_state_falls_back_to_the_older_file(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    writer = Writer()
    for number in (1, 2):
        stand.send(writer.checkpoint(number, random.Random(number).randbytes(20_000 * number)))
        stand.publish()
    newest = sorted((tmp_path / "lake" / "content").glob("*.parquet"))[-1]
    whole = newest.read_bytes()
    for spot in (len(whole) // 2, len(whole) - 6):  # within the state; within the file's footer
        newest.write_bytes(whole[:spot] + bytes([whole[spot] ^ 0x10]) + whole[spot + 1 :])
        stand.crash()
        stand = Stand(tmp_path)
        run = stand.history.run("shop", "order-17")
        assert run is not None
        plan = plan_run(run, stand.history.content, RunHold.FREE, tail_unknown=False)
        assert plan.branches[0].state_bytes == 20_000, spot
        assert "Passed over: checkpoint c2" in reason(plan, writer.root)
    stand.crash()


def test_a_try_that_succeeded_speaks_for_its_call_whatever_came_later() -> None:
    writer = Writer()
    spans = [call(writer, 1, key="k"), ended(writer, 1), call(writer, 2, key="k", try_number=1)]
    plan = planned(history(*spans))
    assert decisions(plan) == {writer.root.hex(): Decision.REDO, **{node(n).hex(): Decision.SKIP for n in (1, 2)}}
    assert f"Try 1 of the same call, {node(1).hex()}, counts" in reason(plan, node(2))


def test_of_an_effect_that_was_tried_twice_only_the_last_try_is_in_doubt() -> None:
    writer = Writer()
    plan = planned(history(call(writer, 1, key="k"), call(writer, 2, key="k", try_number=1)))
    assert plan.in_doubt == [node(2).hex()]
    assert decisions(plan)[node(1).hex()] is Decision.SKIP


def test_what_ran_inside_an_answered_call_is_no_branch_and_not_run_again() -> None:
    writer = Writer()
    spans = [call(writer, 1, effect=False, key="outer"), call(writer, 2, scope="/outer", effect=False)]
    spans += [call(writer, 3, scope="/outer/~worker.0"), scope(writer, "/outer/~worker.0")]
    open_plan = planned(history(*spans))
    assert [branch.scope for branch in open_plan.branches] == ["/", "/outer", "/outer/~worker.0"]
    assert decisions(open_plan)[node(2).hex()] is Decision.REDO
    plan = planned(history(*spans, ended(writer, 1)))
    assert [branch.scope for branch in plan.branches] == ["/"]
    assert decisions(plan)[node(2).hex()] is Decision.REUSE
    assert "ran inside PROMPT charge, which is answered" in reason(plan, node(2))
    assert plan.in_doubt == [node(3).hex()], "what may have happened concerns somebody all the same"


def test_what_is_unfinished_deep_inside_an_answered_call_is_not_run_again_either() -> None:
    writer = Writer()
    spans = [call(writer, 1, effect=False, key="outer"), call(writer, 2, scope="/outer", effect=False, key="inner")]
    spans += [call(writer, 3, scope="/inner", effect=False), scope(writer, "/inner/~worker.0"), ended(writer, 1)]
    plan = planned(history(*spans))
    assert decisions(plan)[node(3).hex()] is Decision.REUSE
    assert [branch.scope for branch in plan.branches] == ["/"]


@pytest.mark.parametrize(
    ("how", "late", "expected"),
    [
        ("done", None, Decision.SKIP),
        ("not_done", None, Decision.REDO),
        ("not_done", False, Decision.CONFLICT),
        ("not_done", True, Decision.REDO),
    ],
)
def test_what_was_settled_by_hand_holds_unless_the_effects_own_end_says_otherwise(
    how: str, late: bool | None, expected: Decision
) -> None:
    writer = Writer()
    spans = [call(writer, 1), writer.settled(node(1), how, b'"x"')]
    spans += [] if late is None else [ended(writer, 1, failed=late)]
    plan = planned(history(*spans))
    assert decisions(plan)[node(1).hex()] is expected
    assert plan.conflicts == ([node(1).hex()] if expected is Decision.CONFLICT else [])


def test_a_finished_a_held_a_cancelled_and_an_interrupted_run_say_so() -> None:
    writer = Writer()
    spans = [writer.root_record(RecordKind.STARTED), call(writer, 1)]
    run = history(*spans)
    assert "was interrupted in attempt 1" in reason(planned(run), writer.root)
    held = planned(run, hold=RunHold.HELD)
    assert "under way in a living process" in reason(held, writer.root)
    assert (held.in_doubt, decisions(held)[node(1).hex()]) == ([], Decision.SKIP)
    assert "was cancelled" in reason(planned(run, hold=RunHold.CANCELLED), writer.root)
    done = planned(history(*spans, ended(writer, 1), writer.root_record(RecordKind.ENDED)))
    assert reason(done, writer.root).startswith("The run is finished")
    assert set(decisions(done).values()) == {Decision.REUSE, Decision.SKIP}


def test_a_scope_in_which_calls_ran_unrecorded_says_so() -> None:
    writer = Writer()
    gap = writer.span(RecordKind.GAP, writer.root, {names.SCOPE: "/"}, parent=b"")
    assert "ran unrecorded" in reason(planned(history(writer.root_record(RecordKind.STARTED), gap)), writer.root)


def test_an_unknown_tail_is_handed_on() -> None:
    assert planned(history(call(Writer(), 1)), tail_unknown=True).tail_unknown


def test_a_run_of_which_only_the_lease_is_known_has_its_root() -> None:
    writer = Writer()
    plan = planned(history(writer.lease("granted"), writer.lease("died")))
    assert decisions(plan) == {writer.root.hex(): Decision.REDO}
    assert plan.branches == [PlannedBranch("/", None, None)]

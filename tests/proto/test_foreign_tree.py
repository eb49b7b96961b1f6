"""Foreign spans put together: wrappers folded, orphans hung up, circles cut, tool calls told by who asked for them."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from livespan.proto.foreign import Step, plant


def step(node: str, parent: str = "", kind: str = "BRANCH", at: int = 0, **more: Any) -> Step:
    return Step(node, parent, kind, at, **more)


def tree(*steps: Step) -> dict[str, str]:
    """Return what stays, in its order, and under what."""
    return {node: told.parent_id for node, told in plant(steps).items()}


def asking(node: str, at: int, *calls: tuple[str, str, dict[str, Any]], parent: str = "root") -> Step:
    """Return a model call that asked for tools: (id, name, arguments)."""
    parts = [{"type": "tool_call", "id": id_, "name": name, "arguments": given} for id_, name, given in calls]
    return step(node, parent, "PROMPT", at, output=json.dumps([{"role": "assistant", "parts": parts}]))


def tool(node: str, at: int, name: str = "look", parent: str = "root", **more: Any) -> Step:
    return step(node, parent, "TOOL", at, tool_name=name, **more)


def told(*steps: Step) -> dict[str, tuple[str, str]]:
    return {node: (found.tool_call_id, found.input) for node, found in plant(steps).items() if found.tool_call_id}


def test_wrappers_of_one_are_folded_and_spans_that_connect_nothing_go() -> None:
    steps = [
        step("root", at=1),
        step("model", "root", at=2),
        step("chat", "model", "PROMPT", 3),
        step("http", "chat", at=4),
        step("tools", "root", at=5),
        step("deeper", "tools", at=6),
        step("look", "deeper", "TOOL", 7),
        step("noise", "root", at=8),
    ]
    assert tree(*steps) == {"root": "", "chat": "root", "look": "root"}


def test_a_run_of_one_call_is_that_call() -> None:
    assert tree(step("agent", at=1), step("chat", "agent", "PROMPT", 2)) == {"chat": ""}


def test_spans_come_in_the_order_of_their_ends_and_are_shown_in_that_of_their_starts() -> None:
    assert list(tree(tool("b", 3), step("a", "root", "PROMPT", 2), step("root", at=1))) == ["root", "a", "b"]


def test_a_span_whose_parent_never_came_hangs_under_the_root() -> None:
    steps = [step("root", at=1), step("one", "root", "PROMPT", 2), step("two", "never came", "PROMPT", 3)]
    assert tree(*steps) == {"root": "", "one": "root", "two": "root"}


def test_spans_without_any_root_stand_beside_each_other() -> None:
    assert tree(step("a", "gone", "PROMPT", 1), step("b", "gone", "TOOL", 2)) == {"a": "", "b": ""}


def test_in_a_run_of_ours_foreign_spans_hang_under_our_root_and_ours_are_left_alone() -> None:
    steps = [
        step("run", at=1, foreign=False),
        step("scope", "run", at=2, foreign=False),
        step("think", "scope", "PROMPT", 5, foreign=False),
        step("theirs", "", at=3),
        step("chat", "theirs", "PROMPT", 4),
        step("under ours", "think", "PROMPT", 6),
    ]
    assert tree(*steps) == {"run": "", "scope": "run", "chat": "run", "think": "scope", "under ours": "think"}


def test_a_wrapper_stays_that_alone_tells_of_a_failure_or_holds_a_state() -> None:
    chat = step("chat", "wrap", "PROMPT", 2)
    assert tree(step("wrap", at=1, failed=True), chat) == {"wrap": "", "chat": "wrap"}
    assert tree(step("wrap", at=1, holds=True), chat) == {"wrap": "", "chat": "wrap"}
    assert tree(step("wrap", at=1, failed=True), step("chat", "wrap", "PROMPT", 2, failed=True)) == {"chat": ""}


def test_where_nothing_would_be_left_the_earliest_span_stays() -> None:
    assert tree(step("inner", "outer", at=2), step("outer", at=1)) == {"outer": ""}
    assert tree() == {}


def test_circles_are_cut() -> None:
    steps = [step("a", "b", "PROMPT", 1), step("b", "a", "PROMPT", 2), step("self", "self", "TOOL", 3)]
    planted = tree(*steps)
    assert set(planted) == {"a", "b", "self"}
    assert sorted(planted.values()) in (["", "", "a"], ["", "", "b"])


def test_a_tool_without_an_id_is_the_call_that_was_asked_for_by_its_name() -> None:
    one, other = {"city": "Paris"}, {"city": "Rome"}
    found = told(
        step("root"),
        asking("chat", 1, ("c1", "look", one), ("c2", "look", other), ("c3", "mail", {})),
        tool("first", 2, input='"Paris"'),
        tool("second", 3, input='"Rome"'),
        tool("nobody asked", 4, name="shout"),
        asking("later", 9, ("c9", "shout", {})),
    )
    assert {node: (call, json.loads(given)) for node, (call, given) in found.items()} == {
        "first": ("c1", one),
        "second": ("c2", other),
    }


def test_arguments_that_are_the_same_decide_between_calls_of_one_name() -> None:
    found = told(
        step("root"),
        asking("chat", 1, ("c1", "look", {"city": "Paris"}), ("c2", "look", {"city": "Rome"})),
        tool("rome", 2, input='{"city": "Rome"}'),
        tool("paris", 3, input='{"city": "Paris"}'),
    )
    assert {node: call for node, (call, _) in found.items()} == {"rome": "c2", "paris": "c1"}


def test_a_tool_that_knows_its_id_has_the_arguments_of_that_call() -> None:
    found = told(
        step("root"),
        asking("chat", 1, ("c1", "look", {"n": 1}), ("c2", "look", {"n": 2})),
        tool("nameless", 2),
        tool("known", 3, tool_call_id="c1"),
    )
    assert found == {"nameless": ("c2", '{"n": 2}'), "known": ("c1", '{"n": 1}')}


def test_two_agents_at_once_ask_for_their_own() -> None:
    found = told(
        step("root"),
        *[step(agent, "root") for agent in ("a", "b")],
        asking("ask a", 1, ("ca", "look", {}), parent="a"),
        asking("ask b", 2, ("cb", "look", {}), parent="b"),
        tool("tool a", 3, parent="a"),
        tool("tool b", 4, parent="b"),
    )
    assert {node: call for node, (call, _) in found.items()} == {"tool a": "ca", "tool b": "cb"}


def test_a_hundred_thousand_spans_one_in_another_are_put_together_in_seconds() -> None:
    kinds = ["TOOL" if n % 1000 == 0 else "BRANCH" for n in range(1, 100_000)]
    under = [step(str(n), str(n - 1), kind, n, tool_name="look") for n, kind in enumerate(kinds, 1)]
    steps = [step("0", at=0), *under]
    begun = time.monotonic()
    assert len(tree(*steps)) == 99
    assert time.monotonic() - begun < 10


NODES = [str(n) for n in range(8)]
STEPS = st.lists(
    st.builds(
        Step,
        node_id=st.sampled_from(NODES),
        parent_id=st.sampled_from([*NODES, "", "gone"]),
        type=st.sampled_from(["BRANCH", "BRANCH", "PROMPT", "TOOL", "MEMORY"]),
        started_ns=st.integers(0, 9),
        foreign=st.booleans(),
        failed=st.booleans(),
        tool_name=st.just("look"),
    ),
    unique_by=lambda one: one.node_id,
)


@given(STEPS)
def test_whatever_comes_it_is_a_forest_of_all_steps_without_idle_wrappers(steps: list[Step]) -> None:
    planted = tree(*steps)
    by_id = {one.node_id: one for one in steps}
    assert {one.node_id for one in steps if not one.foreign or one.type != "BRANCH"} <= set(planted)
    assert bool(planted) == bool(steps)
    for node, parent in planted.items():
        assert not parent or parent in planted
        line = [node]
        while (parent := planted[line[-1]]) and len(line) <= len(planted):
            line.append(parent)
        assert len(line) <= len(planted), "nobody is his own ancestor"
        below = [child for child, over in planted.items() if over == node]
        if by_id[node].foreign and by_id[node].type == "BRANCH" and len(planted) > 1:
            assert len(below) > 1 or by_id[node].failed

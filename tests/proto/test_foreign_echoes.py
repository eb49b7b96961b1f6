"""A model call that two instrumentations saw stands once in its run."""

from __future__ import annotations

import pytest

from livespan.proto.foreign import Step, plant
from livespan.proto.foreign.echoes import echoes

TOKENS = (8, 30)


def prompt(
    node: str,
    start: int,
    end: int,
    framework: str = "langchain",
    *,
    tokens: tuple[int | None, int | None] = TOKENS,
    foreign: bool = True,
    failed: bool = False,
    holds: bool = False,
    model: str = "",
    parent: str = "root",
    output: str = "",
) -> Step:
    return Step(
        node,
        parent,
        "PROMPT",
        start,
        foreign=foreign,
        failed=failed,
        holds=holds,
        ended_ns=end,
        framework=framework,
        model=model,
        tokens=tokens,
        output=output,
    )


def test_the_inner_of_two_is_the_echo_wherever_it_hangs() -> None:
    outer, inner = prompt("outer", 1, 9), prompt("inner", 2, 8, "openai")
    assert echoes([outer, inner]) == echoes([inner, outer]) == {"inner"}
    root, branch = Step("root", "", "BRANCH", 0), Step("agent", "root", "BRANCH", 0)
    tool = Step("tool", "agent", "TOOL", 9)
    beside = [root, branch, tool, prompt("outer", 1, 9, parent="agent"), inner]
    assert list(plant(beside)) == ["agent", "outer", "tool"]
    below = [root, tool, prompt("outer", 1, 9), prompt("inner", 2, 8, "openai", parent="outer")]
    assert list(plant(below)) == ["root", "outer", "tool"]


def test_three_that_saw_one_call_are_one() -> None:
    steps = [prompt("a", 1, 9), prompt("b", 2, 8, "litellm"), prompt("c", 3, 7, "openai")]
    assert echoes(steps) == {"b", "c"}


def test_our_own_record_is_never_an_echo_and_what_lies_in_it_is() -> None:
    own = prompt("own", 2, 8, "langgraph", foreign=False)
    assert echoes([own, prompt("client", 3, 7, "openai")]) == {"client"}
    assert echoes([own, prompt("around", 1, 9, "openai")]) == set()


@pytest.mark.parametrize(
    "other",
    [
        prompt("other", 2, 8, "langchain"),
        prompt("other", 2, 10, "openai"),
        prompt("other", 0, 8, "openai"),
        prompt("other", 10, 12, "openai"),
        prompt("other", 2, 8, "openai", tokens=(8, 31)),
        prompt("other", 2, 8, "openai", tokens=(8, None)),
        prompt("other", 2, 8, "openai", failed=True),
        prompt("other", 2, 8, "openai", holds=True),
        prompt("other", 2, 0, "openai"),
    ],
    ids=["same framework", "ends later", "starts before", "afterwards", "tokens", "count", "failed", "state", "no end"],
)
def test_another_call_is_no_echo(other: Step) -> None:
    assert echoes([prompt("outer", 1, 9), other]) == set()


def test_where_nobody_counted_tokens_the_model_must_be_the_same() -> None:
    none = (None, None)
    outer = prompt("outer", 1, 9, tokens=none, model="a", failed=True)
    assert echoes([outer, prompt("inner", 2, 8, "openai", tokens=none, model="a", failed=True)]) == {"inner"}
    assert echoes([outer, prompt("inner", 2, 8, "openai", tokens=none, model="b", failed=True)]) == set()


def test_calls_at_the_same_time_keep_their_number() -> None:
    seen = [prompt(f"outer {n}", n, 20 + n) for n in range(1, 6)]
    again = [prompt(f"inner {n}", n + 1, 19 + n, "openai") for n in range(1, 6)]
    alone = [prompt(f"alone {n}", n + 30, 40 + n, "openai") for n in range(1, 4)]
    assert echoes([*alone, *again, *seen]) == {step.node_id for step in again}


def test_an_enclosing_call_is_found_behind_a_longer_one_of_the_same_client() -> None:
    long, outer, inner = prompt("long", 1, 30, "openai"), prompt("outer", 2, 10), prompt("inner", 3, 9, "openai")
    assert echoes([long, outer, inner]) == {"outer", "inner"}


def test_two_at_the_very_same_time_are_one() -> None:
    assert echoes([prompt("a", 1, 9), prompt("b", 1, 9, "openai")]) == {"b"}


def test_an_echo_takes_no_tools_call() -> None:
    asked = '[{"parts":[{"type":"tool_call","id":"call_1","name":"pay","arguments":{"cents":7}}]}]'
    steps = [
        Step("root", "", "BRANCH", 0),
        prompt("outer", 1, 9, output=asked),
        prompt("inner", 2, 8, "openai", output=asked),
        Step("first", "root", "TOOL", 10, tool_name="pay"),
        Step("second", "root", "TOOL", 11, tool_name="pay"),
    ]
    told = plant(steps)
    assert [told[node].tool_call_id for node in ("first", "second")] == ["call_1", ""]


def test_a_hundred_thousand_equal_calls_are_judged_at_once() -> None:
    steps = [prompt(str(n), n + 1, 1_000_000 - n, ("langchain", "openai")[n % 2]) for n in range(100_000)]
    assert len(echoes(steps)) == 99_999

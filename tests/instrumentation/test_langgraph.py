"""LangGraph's own agent, recorded: a full run, its answers from the record, and a kill after every record of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from langchain_core.messages import HumanMessage
from tests.instrumentation.fake_session import Killed, Tape
from tests.instrumentation.langgraph_agents import RAN, asked_of, model_of, order_agent, run_agent, shape

from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.errors import Divergence, InDoubt, RunStopped
from livespan.proto.node import NodeType
from livespan.replay.testing import ModelServer

READS = {"look_up_order": False, "check_stock": False}
both = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    instrument(["langgraph"], effects=READS)
    yield
    uninstrument()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(random_ids=True) as server:
        yield server


@both
def test_a_second_life_is_answered_from_the_record(server: ModelServer, use_async: bool) -> None:
    tape = Tape()
    with tape.life() as session:
        first = run_agent(order_agent(server), use_async=use_async)
        assert (session.executed, session.reused) == (6, 0)
    asked, ran, lines = asked_of(server), RAN.copy(), len(tape.lines)
    assert asked == 3
    with tape.life() as session:
        again = run_agent(order_agent(server), use_async=use_async)
        assert (session.executed, session.reused) == (0, 6)
    assert shape(again) == shape(first)
    assert asked_of(server) == asked
    assert ran == RAN
    assert [line for line in tape.lines[lines:] if line.type != NodeType.BRANCH] == []


@both
def test_wherever_it_is_killed_the_next_life_ends_the_run_and_does_nothing_twice(
    server: ModelServer, use_async: bool
) -> None:
    whole = Tape()
    with whole.life():
        run_agent(order_agent(server), use_async=use_async)
    doubts = 0
    for killed_after in range(2, len(whole.lines)):
        RAN.clear()
        label = f"killed after {killed_after}"
        tape = Tape()
        # A gather of LangChain's makes an AttributeError of a BaseException that is not ours, and a loop ends the last
        # branches where nobody is left to hear of it.
        with suppress(Killed, AttributeError), tape.life(killed_after):
            run_agent(order_agent(server, label), use_async=use_async)
        assert tape.dead
        assert len(tape.lines) == killed_after
        open_calls = tape.open_calls()
        in_doubt = any(line.attributes.get(names.EFFECT) for line in open_calls)
        prompts = sum(line.type == NodeType.PROMPT for line in open_calls)
        try:
            with tape.life():
                messages = run_agent(order_agent(server, label), use_async=use_async)
        except (InDoubt, RunStopped):
            assert in_doubt
            doubts += 1
            continue
        assert not in_doubt
        assert RAN["charge_card"] == 1
        assert messages[-1].content == 'order-17 is paid: {"receipt": "rc-1", "cents": 4200}'
        assert asked_of(server, label) <= 3 + prompts
    assert doubts == 1


@both
def test_an_effect_in_doubt_is_asked_again_where_the_user_said_so(server: ModelServer, use_async: bool) -> None:
    tape = Tape()
    with tape.life():
        run_agent(order_agent(server), use_async=use_async)
    place = next(n for n, line in enumerate(tape.lines, 1) if line.name == "charge_card")
    tape = Tape()
    with pytest.raises((Killed, AttributeError)), tape.life(place):
        run_agent(order_agent(server), use_async=use_async)
    with pytest.raises(InDoubt, match="charge_card"), tape.life():
        run_agent(order_agent(server), use_async=use_async)
    instrument(["langgraph"], in_doubt={"charge_card": "retry"})
    with tape.life():
        messages = run_agent(order_agent(server), use_async=use_async)
    assert str(messages[-1].content).startswith("order-17 is paid")
    keys = {
        line.attributes.get(names.IDEMPOTENCY_KEY) for line in tape.calls(NodeType.TOOL) if line.name == "charge_card"
    }
    assert len(keys) == 1


@both
def test_a_probe_is_given_the_arguments_and_answers(server: ModelServer, use_async: bool) -> None:
    tape = Tape()
    with tape.life():
        run_agent(order_agent(server), use_async=use_async)
    place = next(n for n, line in enumerate(tape.lines, 1) if line.name == "charge_card")
    tape = Tape()
    with pytest.raises((Killed, AttributeError)), tape.life(place):
        run_agent(order_agent(server), use_async=use_async)
    ran, seen = RAN["charge_card"], list[tuple[str, int]]()

    def probe(key: str, cents: int) -> object:
        seen.append((key[:3], cents))
        return {"receipt": "rc-9", "cents": 4200}

    instrument(["langgraph"], in_doubt={"charge_card": probe})
    with tape.life():
        messages = run_agent(order_agent(server), use_async=use_async)
    assert messages[-1].content == 'order-17 is paid: {"receipt": "rc-9", "cents": 4200}'
    assert seen == [("ls-", 4200)]
    assert RAN["charge_card"] == ran
    settled = [line for line in tape.lines if line.kind == "settled"]
    assert [line.name for line in settled] == ["charge_card"]


@both
def test_a_changed_prompt_diverges_before_anything_is_called(server: ModelServer, use_async: bool) -> None:
    tape = Tape()
    with tape.life():
        run_agent(order_agent(server), use_async=use_async)
    asked, ran = asked_of(server), RAN.copy()
    with pytest.raises(Divergence, match=r"messages.*brief"), tape.life():
        run_agent(order_agent(server, system_prompt="Be brief."), use_async=use_async)
    assert (asked_of(server), RAN) == (asked, ran)


def test_a_stop_comes_out_of_an_asynchronous_call_as_itself(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        asyncio.run(model_of(server).ainvoke("hello"))
    with pytest.raises(Divergence), tape.life():
        asyncio.run(model_of(server).ainvoke("good bye"))
    assert asked_of(server) == 1


@both
def test_a_stop_that_is_swallowed_comes_again(server: ModelServer, use_async: bool) -> None:
    tape = Tape()
    with tape.life():
        run_agent(order_agent(server), use_async=use_async)

    def swallow_and_go_on() -> None:
        with pytest.raises(Divergence) as first:
            run_agent(order_agent(server, system_prompt="Be brief."), use_async=use_async)
        with pytest.raises(Divergence) as second:
            run_agent(order_agent(server), use_async=use_async)
        assert second.value is first.value

    with pytest.raises(RunStopped), tape.life():
        swallow_and_go_on()


def test_what_an_answer_says_of_itself_is_recorded(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        run_agent(order_agent(server))
    prompt = tape.calls(NodeType.PROMPT, "ended")[0].attributes
    assert prompt[names.MODEL] == "livespan-test-model"
    assert prompt[names.PROVIDER] == "openai"
    assert prompt[names.INPUT_TOKENS] > 0
    assert prompt[names.OUTPUT_TOKENS] > 0
    assert prompt[names.FRAMEWORK] == "langgraph"
    issued = prompt[names.ISSUED]
    asked = [line.attributes[names.TOOL_CALL_ID] for line in tape.calls(NodeType.TOOL)[:2]]
    assert all(call_id in issued for call_id in asked)
    assert tape.calls(NodeType.TOOL)[0].attributes[names.TOOL_ARGUMENTS] == '{"order_id":"order-17"}'


@both
def test_scopes_are_the_tasks_of_the_graph(server: ModelServer, use_async: bool) -> None:
    tape = Tape()
    with tape.life():
        run_agent(order_agent(server, name="shop"), use_async=use_async)
    # asyncio.run starts a task, a branch like any other.
    root = "/~Pregel.ainvoke.0/shop.0" if use_async else "/shop.0"
    assert tape.scopes(NodeType.PROMPT) == [f"{root}/model@{step}.0" for step in (1, 3, 5)]
    assert tape.scopes(NodeType.TOOL) == [f"{root}/tools@2[0].0", f"{root}/tools@2[1].0", f"{root}/tools@4[0].0"]


def test_outside_of_a_run_and_uninstrumented_nothing_is_recorded(server: ModelServer) -> None:
    uninstrument()
    tape = Tape()
    with tape.life() as session:
        run_agent(order_agent(server))
        assert session.executed == 0
    assert [line.type for line in tape.lines] == [NodeType.BRANCH] * len(tape.lines)


def test_two_runs_of_one_agent_in_one_life_are_told_apart(server: ModelServer) -> None:
    tape = Tape()
    for _ in range(2):
        with tape.life():
            agent = order_agent(server)
            receipts = [run_agent(agent)[-1].content for _ in range(2)]
        assert receipts[0] != receipts[1]
        assert asked_of(server) == 6
        assert RAN["charge_card"] == 2


def test_equal_calls_in_plain_code_are_numbered(server: ModelServer) -> None:
    tape = Tape()
    texts: list[list[str]] = []
    for _ in range(2):
        with tape.life():
            model = model_of(server, "plain")
            texts.append([str(model.invoke([HumanMessage("hello")]).content) for _ in range(2)])
    assert texts[0] == texts[1]
    assert texts[0][0] != texts[0][1]
    assert asked_of(server, "plain") == 2

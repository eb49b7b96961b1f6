"""Pydantic AI, recorded: a full run, its answers from the record, and a kill after every record of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from tests.instrumentation.fake_session import Killed, Tape
from tests.instrumentation.pydantic_ai_team import RAN, WAYS, Way, asked_of, order_agent, run_agent

from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.errors import Divergence, InDoubt, RunStopped
from livespan.proto.node import NodeType
from livespan.replay.testing import ModelServer

READS = {"look_up_order": False, "check_stock": False}
every_way = pytest.mark.parametrize("way", WAYS)
two_ways = pytest.mark.parametrize("way", ["async", "stream"])


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    instrument(["pydantic_ai"], effects=READS)
    yield
    uninstrument()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(random_ids=True) as server:
        yield server


@every_way
def test_a_second_life_is_answered_from_the_record(server: ModelServer, way: Way) -> None:
    tape = Tape()
    with tape.life() as session:
        first = run_agent(order_agent(server), way)
        assert (session.executed, session.reused) == (6, 0)
    asked, ran, lines = asked_of(server), RAN.copy(), len(tape.lines)
    assert asked == 3
    with tape.life() as session:
        again = run_agent(order_agent(server), way)
        assert (session.executed, session.reused) == (0, 6)
    assert again[1] == first[1] == "order-17 is paid: charged 4200, receipt 1"
    answers = [[one for one in messages if one.kind == "response"] for messages, _ in (first, again)]
    assert [one.parts for one in answers[1]] == [one.parts for one in answers[0]]
    assert [one.usage for one in answers[1]] == [one.usage for one in answers[0]]
    assert (asked_of(server), RAN) == (asked, ran)
    assert [line for line in tape.lines[lines:] if line.type != NodeType.BRANCH] == []


@every_way
def test_where_the_client_is_hooked_too_nothing_is_recorded_twice(server: ModelServer, way: Way) -> None:
    instrument(["pydantic_ai", "openai"], effects=READS)
    tape = Tape()
    for executed in (6, 0):
        with tape.life() as session:
            run_agent(order_agent(server), way)
            assert (session.executed, session.reused) == (executed, 6 - executed)
    assert asked_of(server) == 3
    assert {line.attributes[names.FRAMEWORK] for line in tape.calls(NodeType.PROMPT)} == {"pydantic_ai"}


@every_way
def test_wherever_it_is_killed_the_next_life_ends_the_run_and_does_nothing_twice(server: ModelServer, way: Way) -> None:
    whole = Tape()
    with whole.life():
        run_agent(order_agent(server), way)
    doubts = 0
    for killed_after in range(2, len(whole.lines)):
        RAN.clear()
        label = f"killed after {killed_after}"
        tape = Tape()
        with suppress(Killed), tape.life(killed_after):
            run_agent(order_agent(server, label), way)
        assert tape.dead
        assert len(tape.lines) == killed_after
        open_calls = tape.open_calls()
        in_doubt = any(line.attributes.get(names.EFFECT) for line in open_calls)
        prompts = sum(line.type == NodeType.PROMPT for line in open_calls)
        try:
            with tape.life():
                result = run_agent(order_agent(server, label), way)
        except (InDoubt, RunStopped):
            assert in_doubt
            assert RAN["charge_card"] <= 1
            doubts += 1
            continue
        assert not in_doubt
        assert RAN["charge_card"] == 1
        assert result[1] == "order-17 is paid: charged 4200, receipt 1"
        assert asked_of(server, label) <= 3 + prompts
    assert doubts == 1


def killed_in_the_charge(server: ModelServer, way: Way) -> Tape:
    """Return the record of a life that was killed between the start and the end of its effect."""
    tape = Tape()
    with tape.life():
        run_agent(order_agent(server), way)
    place = next(n for n, line in enumerate(tape.lines, 1) if line.name == "charge_card")
    tape = Tape()
    with pytest.raises(Killed), tape.life(place):
        run_agent(order_agent(server), way)
    return tape


@two_ways
def test_an_effect_in_doubt_is_asked_again_where_the_user_said_so(server: ModelServer, way: Way) -> None:
    tape = killed_in_the_charge(server, way)
    with pytest.raises((InDoubt, RunStopped), match="charge_card"), tape.life():
        run_agent(order_agent(server), way)
    instrument(["pydantic_ai"], in_doubt={"charge_card": "retry"})
    with tape.life():
        assert run_agent(order_agent(server), way)[1].startswith("order-17 is paid")
    keys = {
        line.attributes.get(names.IDEMPOTENCY_KEY) for line in tape.calls(NodeType.TOOL) if line.name == "charge_card"
    }
    assert len(keys) == 1


@two_ways
def test_a_probe_is_given_the_arguments_and_answers(server: ModelServer, way: Way) -> None:
    tape = killed_in_the_charge(server, way)
    ran, seen = RAN["charge_card"], list[tuple[str, int]]()

    def probe(key: str, cents: int) -> object:
        seen.append((key[:3], cents))
        return "charged 4200, receipt 9"

    instrument(["pydantic_ai"], in_doubt={"charge_card": probe})
    with tape.life():
        assert run_agent(order_agent(server), way)[1] == "order-17 is paid: charged 4200, receipt 9"
    assert seen == [("ls-", 4200)]
    assert RAN["charge_card"] == ran
    assert [line.name for line in tape.lines if line.kind == "settled"] == ["charge_card"]


@two_ways
def test_a_changed_prompt_diverges_before_anything_is_called(server: ModelServer, way: Way) -> None:
    tape = Tape()
    with tape.life():
        run_agent(order_agent(server), way)
    asked, ran = asked_of(server), RAN.copy()
    with pytest.raises((Divergence, RunStopped), match=r"instructions.*brief"), tape.life():
        run_agent(order_agent(server, instructions="Be brief."), way)
    assert (asked_of(server), RAN) == (asked, ran)


@two_ways
def test_a_stop_that_is_swallowed_comes_again(server: ModelServer, way: Way) -> None:
    tape = Tape()
    with tape.life():
        run_agent(order_agent(server), way)

    def swallow_and_go_on() -> None:
        with pytest.raises(Divergence) as first:
            run_agent(order_agent(server, instructions="Be brief."), way)
        with pytest.raises(Divergence) as second:
            run_agent(order_agent(server), way)
        assert second.value is first.value

    with pytest.raises(RunStopped), tape.life():
        swallow_and_go_on()


@two_ways
def test_what_an_answer_says_of_itself_is_recorded(server: ModelServer, way: Way) -> None:
    tape = Tape()
    with tape.life():
        run_agent(order_agent(server), way)
    prompt = tape.calls(NodeType.PROMPT, "ended")[0].attributes
    assert prompt[names.MODEL] == "livespan-test-model"
    assert prompt[names.PROVIDER] == "openai"
    assert prompt[names.FRAMEWORK] == "pydantic_ai"
    assert prompt[names.INPUT_TOKENS] > 0
    assert prompt[names.OUTPUT_TOKENS] > 0
    issued = prompt[names.ISSUED]
    asked = [line.attributes[names.TOOL_CALL_ID] for line in tape.calls(NodeType.TOOL)[:2]]
    assert all(call_id in issued for call_id in asked)
    assert tape.calls(NodeType.TOOL)[0].attributes[names.TOOL_ARGUMENTS] == '{"order_id":"order-17"}'


@every_way
def test_an_agent_that_was_made_before_is_recorded_too(server: ModelServer, way: Way) -> None:
    uninstrument()
    agent = order_agent(server)
    instrument(["pydantic_ai"])
    tape = Tape()
    with tape.life() as session:
        run_agent(agent, way)
        assert session.executed == 6


def test_two_runs_of_one_agent_in_one_life_are_told_apart(server: ModelServer) -> None:
    tape = Tape()
    for _ in range(2):
        with tape.life():
            agent = order_agent(server)
            receipts = [run_agent(agent, "sync")[1] for _ in range(2)]
        assert receipts[0] != receipts[1]
        assert asked_of(server) == 6
        assert RAN["charge_card"] == 2
    assert set(tape.scopes(NodeType.TOOL)) == {"/shop.0", "/shop.1"}


def test_uninstrumented_nothing_is_recorded_and_everything_is_as_it_was(server: ModelServer) -> None:
    uninstrument()
    replaced: list[tuple[type, str]] = [
        (Agent, "iter"),
        (Model, "request"),
        (Model, "request_stream"),
        (OpenAIChatModel, "request"),
        (OpenAIChatModel, "request_stream"),
    ]
    before = [vars(owner)[name] for owner, name in replaced]
    instrument(["pydantic_ai"])
    assert all(vars(owner)[name] is not one for (owner, name), one in zip(replaced, before, strict=True))
    uninstrument()
    assert [vars(owner)[name] for owner, name in replaced] == before
    tape = Tape()
    with tape.life() as session:
        run_agent(order_agent(server))
        assert session.executed == 0
    assert [line.type for line in tape.lines] == [NodeType.BRANCH] * len(tape.lines)

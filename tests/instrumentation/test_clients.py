"""The plain OpenAI and Anthropic clients, recorded: each API, whole and streamed, killed after every record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.instrumentation.client_agents import DIALECTS, RAN, WAYS, Program
from tests.instrumentation.fake_session import Killed, Tape

from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.errors import Divergence, InDoubt, RunStopped
from livespan.proto.node import NodeType
from livespan.replay.testing import ModelServer

both_ends = pytest.mark.parametrize("dialect", DIALECTS)
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    instrument(["openai", "anthropic"])
    yield
    uninstrument()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(random_ids=True) as server:
        yield server


@both_ends
@every_way
def test_a_second_life_has_the_same_answers_from_the_record(server: ModelServer, dialect: str, way: str) -> None:
    tape, program = Tape(), Program(dialect, way)
    with tape.life() as session:
        first = program.run(server)
        assert (session.executed, session.reused) == (6, 0)
    lines = len(tape.lines)
    assert first.text == 'order-17 is paid: {"receipt": "rc-1", "cents": 4200}'
    with tape.life() as session:
        again = program.run(server)
        assert (session.executed, session.reused) == (0, 6)
    assert again == first
    assert repr(again) == repr(first)
    assert server.counts("agent").requests == 3
    assert RAN == {"look_up_order": 1, "check_stock": 1, "charge_card": 1}
    assert [line for line in tape.lines[lines:] if line.type != NodeType.BRANCH] == []


@both_ends
@every_way
def test_wherever_it_is_killed_the_next_life_ends_the_run_and_does_nothing_twice(
    server: ModelServer, dialect: str, way: str
) -> None:
    whole, program = Tape(), Program(dialect, way)
    with whole.life():
        program.run(server)
    doubts = 0
    for killed_after in range(2, len(whole.lines)):
        RAN.clear()
        label = f"killed after {killed_after}"
        tape = Tape()
        with suppress(Killed), tape.life(killed_after):
            program.run(server, label)
        assert tape.dead
        open_calls = tape.open_calls()
        in_doubt = any(line.attributes.get(names.EFFECT) for line in open_calls)
        prompts = sum(line.type == NodeType.PROMPT for line in open_calls)
        try:
            with tape.life():
                outcome = program.run(server, label)
        except (InDoubt, RunStopped):
            assert in_doubt
            doubts += 1
            continue
        assert not in_doubt
        assert RAN["charge_card"] == 1
        assert outcome.text == 'order-17 is paid: {"receipt": "rc-1", "cents": 4200}'
        assert server.counts(label).requests <= 3 + prompts
    assert doubts == 1


@both_ends
@pytest.mark.parametrize("way", ["plain", "async stream"])
def test_a_changed_prompt_diverges_before_anything_is_called(server: ModelServer, dialect: str, way: str) -> None:
    tape = Tape()
    with tape.life():
        Program(dialect, way).run(server)
    ran = RAN.copy()
    with pytest.raises((Divergence, RunStopped), match="Be brief"), tape.life():
        Program(dialect, way, system="Be brief.").run(server)
    assert (server.counts("agent").requests, RAN) == (3, ran)


@both_ends
@pytest.mark.parametrize("way", ["plain", "stream", "helper"])
def test_what_an_answer_says_of_itself_is_recorded(server: ModelServer, dialect: str, way: str) -> None:
    tape = Tape()
    with tape.life():
        Program(dialect, way).run(server)
    ends = tape.calls(NodeType.PROMPT, "ended")
    client = "anthropic" if dialect == "messages" else "openai"
    assert [line.attributes[names.FRAMEWORK] for line in ends] == [client] * 3
    prompt: dict[str, Any] = ends[0].attributes
    assert prompt[names.MODEL] == "livespan-test-model"
    assert prompt[names.PROVIDER] == client
    assert prompt[names.ISSUED].count("toolu_" if dialect == "messages" else "call_") == 2
    if (dialect, way) != ("chat", "stream"):  # which tells of tokens where it is asked to
        assert prompt.get(names.INPUT_TOKENS, 0) > 0 or dialect == "chat"
    assert names.ISSUED not in ends[2].attributes or ends[2].attributes[names.ISSUED] == "[]"


@both_ends
def test_a_stop_that_is_swallowed_comes_again(server: ModelServer, dialect: str) -> None:
    tape, program = Tape(), Program(dialect, "plain")
    with tape.life():
        program.run(server)

    def swallow_and_go_on() -> None:
        with pytest.raises(Divergence) as first:
            Program(dialect, "plain", system="Be brief.").run(server)
        with pytest.raises(Divergence) as second:
            program.run(server)
        assert second.value is first.value

    with pytest.raises(RunStopped), tape.life():
        swallow_and_go_on()
    assert server.counts("agent").requests == 3


@both_ends
def test_uninstrumented_nothing_is_recorded(server: ModelServer, dialect: str) -> None:
    uninstrument()
    tape = Tape()
    with tape.life():
        Program(dialect, "stream").run(server)
    assert tape.calls(NodeType.PROMPT) == []
    assert len(tape.calls(NodeType.TOOL)) == 3

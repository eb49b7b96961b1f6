"""Tools, teams and streams of the OpenAI Agents SDK: errors, timeouts, approval, agents as tools, hand-offs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from agents import Agent, Runner, function_tool
from agents.models.interface import Model
from openai.types.responses import ResponseTextDeltaEvent
from tests.instrumentation.fake_session import Killed, Tape
from tests.instrumentation.openai_agents_team import RAN, asked_of, charge_card, model_of, run_agent

from livespan.instrumentation.context import idempotency_key
from livespan.instrumentation.decorators import tool as recorded_tool
from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.errors import Divergence, InDoubt, RunStopped
from livespan.proto.node import NodeType
from livespan.replay.testing import Conversation, ModelServer, Reply, ToolCall, plain_script


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    instrument(["openai_agents"])
    yield
    uninstrument()


def asking(*calls: ToolCall) -> Callable[[Conversation], Reply]:
    """Return a script that asks for these calls at once, then quotes what came."""

    def script(conversation: Conversation, /) -> Reply:
        last = conversation.messages[-1]
        if last.role == "tool":
            count = sum(message.role == "tool" for message in conversation.messages)
            return Reply(text="; ".join(message.text for message in conversation.messages[-count:]))
        return Reply(tool_calls=calls)

    return script


def lives_of(program: Callable[[], Any], count: int = 2, tape: Tape | None = None) -> tuple[list[Any], Tape]:
    """Return what each life gave."""
    tape, found = tape or Tape(), list[Any]()
    for _ in range(count):
        with tape.life():
            found.append(program())
    return found, tape


def killed_everywhere(program: Callable[[str], Any]) -> Iterator[tuple[Tape, Any]]:
    """Kill the program after each of its records, and yield the record and what the next life gave; None: in doubt."""
    whole = Tape()
    with whole.life():
        program("whole")
    for killed_after in range(2, len(whole.lines)):
        RAN.clear()
        tape = Tape()
        with suppress(Killed), tape.life(killed_after):
            program(f"killed after {killed_after}")
        assert tape.dead
        try:
            with tape.life():
                yield tape, program(f"killed after {killed_after}")
        except (InDoubt, RunStopped):
            assert any(line.attributes.get(names.EFFECT) for line in tape.open_calls())
            yield tape, None


class Declined(Exception):
    """The card was declined."""


@function_tool
async def decline(cents: int) -> str:
    """Charge a card that has no money."""
    RAN["decline"] += 1
    raise Declined(f"{cents} were declined, {RAN['decline']}")


def test_what_was_told_of_an_error_is_told_again() -> None:
    with ModelServer(asking(ToolCall("decline", {"cents": 1}))) as server:
        found, tape = lives_of(lambda: run_agent(Agent("shop", model=model_of(server), tools=[decline])).final_output)
        assert asked_of(server) == 2
    assert "An error occurred" in found[0]
    assert found[0] == found[1]
    assert RAN["decline"] == 1
    assert "ToldError" in tape.calls(NodeType.TOOL, "ended")[0].attributes[names.TOOL_RESULT]


def test_an_error_that_is_raised_is_raised_again() -> None:
    raising = function_tool(failure_error_function=None)(decline.__wrapped__)
    with ModelServer(asking(ToolCall("decline", {"cents": 1}))) as server:

        def program() -> str:
            with pytest.raises(Exception, match="were declined, 1") as caught:
                run_agent(Agent("shop", model=model_of(server), tools=[raising]))
            return type(caught.value.__cause__).__name__

        found, _ = lives_of(program)
    assert found == ["Declined", "Declined"]
    assert RAN["decline"] == 1


@pytest.mark.parametrize("arguments", [{"cents": "many"}, {}])
def test_arguments_that_cannot_be_read_are_no_call(arguments: dict[str, object]) -> None:
    with ModelServer(asking(ToolCall("charge_card", arguments))) as server:
        agent = Agent("shop", model=model_of(server), tools=[charge_card])
        found, tape = lives_of(lambda: run_agent(agent).final_output)
    assert found[0] == found[1]
    assert "An error occurred" in found[0]
    assert tape.calls(NodeType.TOOL) == []


def test_a_timeout_is_an_outcome() -> None:
    async def wait(seconds: int) -> str:
        """Wait."""
        RAN["wait"] += 1
        await asyncio.sleep(seconds)
        return "waited"

    slow = function_tool(timeout=0.05)(wait)
    with ModelServer(asking(ToolCall("wait", {"seconds": 60}))) as server:
        agent = Agent("shop", model=model_of(server), tools=[slow])
        found, _ = lives_of(lambda: run_agent(agent).final_output)
    assert "timed out" in found[0]
    assert found[0] == found[1]
    assert RAN["wait"] == 1


def test_a_call_that_waits_for_approval_is_no_call_until_it_is_approved() -> None:
    guarded = function_tool(needs_approval=True)(charge_card.__wrapped__)
    with ModelServer(asking(ToolCall("charge_card", {"cents": 1}))) as server:
        agent = Agent("shop", model=model_of(server), tools=[guarded])
        tape = Tape()

        def program() -> str:
            asked = run_agent(agent)
            assert RAN["charge_card"] == len(tape.calls(NodeType.TOOL, "ended"))
            state = asked.to_state()
            state.approve(asked.interruptions[0])
            return str(run_agent(agent, question=state).final_output)

        found, _ = lives_of(program, tape=tape)
        assert asked_of(server) == 2
    assert found == ["charged 1, receipt 1"] * 2


def test_parallel_equal_charges_are_each_done_once() -> None:
    calls = [ToolCall("charge_card", {"cents": 1})] * 3
    with ModelServer(asking(*calls), random_ids=True) as server:

        def program(label: str) -> str:
            return str(run_agent(Agent("shop", model=model_of(server, label), tools=[charge_card])).final_output)

        doubts = 0
        for _, answer in killed_everywhere(program):
            assert RAN["charge_card"] <= 3
            if answer is None:
                doubts += 1
            else:
                assert RAN["charge_card"] == 3
        assert doubts == 5  # started one by one, and then ended one by one


def test_the_key_is_there_in_the_thread_of_a_synchronous_tool_and_stays_the_same() -> None:
    seen: list[str] = []

    @function_tool
    def charge(cents: int) -> str:
        """Charge."""
        seen.append(idempotency_key())
        if len(seen) == 1:
            tape.dead = True
            raise Killed
        return "charged"

    instrument(in_doubt={"charge": "retry"})
    with ModelServer(asking(ToolCall("charge", {"cents": 1}))) as server:
        agent = Agent("shop", model=model_of(server), tools=[charge])
        tape = Tape()
        with pytest.raises(Killed), tape.life():
            run_agent(agent)
        with tape.life():
            assert run_agent(agent).final_output == "charged"
    assert seen[0].startswith("ls-")
    assert seen[0] == seen[1]


def test_a_tool_over_a_decorated_function_goes_by_what_that_one_says() -> None:
    @recorded_tool(in_doubt="retry")
    def charge(cents: int) -> str:
        """Charge."""
        RAN["charge"] += 1
        if RAN["charge"] == 1:
            tape.dead = True
            raise Killed
        return f"charged {cents}"

    with ModelServer(asking(ToolCall("charge", {"cents": 1}))) as server:
        agent = Agent("shop", model=model_of(server), tools=[function_tool(charge)])
        tape = Tape()
        with pytest.raises(Killed), tape.life():
            run_agent(agent)
        with tape.life():
            assert run_agent(agent).final_output == "charged 1"
    effects = [line.attributes.get(names.EFFECT, False) for line in tape.calls(NodeType.TOOL)]
    assert effects == [False, True, False, True]


def team_script(conversation: Conversation, /) -> Reply:
    """The boss asks two clerks at once; a clerk charges."""
    last = conversation.messages[-1]
    results = [message.text for message in conversation.messages if message.role == "tool"]
    if last.role == "tool":
        return Reply(text=" and ".join(results))
    if "clerk" in conversation.tools:
        return Reply(tool_calls=tuple(ToolCall("clerk", {"input": f"charge {cents}"}) for cents in (1, 2)))
    return Reply(tool_calls=(ToolCall("charge_card", {"cents": int(last.text.split()[-1])}),))


def test_agents_as_tools_are_entered_again_and_what_they_did_is_answered() -> None:
    with ModelServer(team_script, random_ids=True) as server:

        def program(label: str) -> str:
            clerk = Agent("clerk", model=model_of(server, label), tools=[charge_card])
            boss = Agent("boss", model=model_of(server, label), tools=[clerk.as_tool("clerk", "Charges.")])
            return str(run_agent(boss).final_output)

        answered = 0
        for tape, answer in killed_everywhere(program):
            assert RAN["charge_card"] <= 2
            if answer is not None:
                answered += 1
                assert sorted(text.split(",")[0] for text in answer.split(" and ")) == ["charged 1", "charged 2"]
                assert RAN["charge_card"] == 2
            assert len(tape.calls(NodeType.PROMPT, "ended")) in ((6,) if answer is not None else range(7))
        assert answered > 10


def test_a_clerks_stop_ends_the_boss_too() -> None:
    with ModelServer(team_script, random_ids=True) as server:

        def program(instructions: str) -> str:
            clerk = Agent("clerk", instructions=instructions, model=model_of(server), tools=[charge_card])
            boss = Agent("boss", model=model_of(server), tools=[clerk.as_tool("clerk", "Charges.")])
            return str(run_agent(boss).final_output)

        tape = Tape()
        with tape.life():
            program("Charge.")
        asked, ran = asked_of(server), RAN.copy()
        with pytest.raises((Divergence, RunStopped)), tape.life(), suppress(Exception):
            program("Do not charge.")
        assert (asked_of(server), RAN) == (asked, ran)


def handing_script(conversation: Conversation, /) -> Reply:
    last = conversation.messages[-1]
    if "transfer_to_billing" in conversation.tools:
        return Reply(tool_calls=(ToolCall("transfer_to_billing", {}),))
    if last.role == "tool" and last.text.startswith("charged"):
        return Reply(text=last.text)
    return Reply(tool_calls=(ToolCall("charge_card", {"cents": 3}),))


@pytest.mark.parametrize("way", ["sync", "stream"])
def test_what_follows_a_hand_off_lies_in_the_scope_of_the_other_agent(way: Any) -> None:
    with ModelServer(handing_script, random_ids=True) as server:

        def program(label: str) -> str:
            billing = Agent("billing", model=model_of(server, label), tools=[charge_card])
            triage = Agent("triage", model=model_of(server, label), handoffs=[billing])
            return str(run_agent(triage, way).final_output)

        doubts = 0
        for tape, answer in killed_everywhere(program):
            if answer is None:
                doubts += 1
                continue
            assert answer == "charged 3, receipt 1"
            assert RAN["charge_card"] == 1
            paths = [line.scope.rpartition("triage.0")[2] for line in tape.calls(NodeType.PROMPT)]
            assert set(paths) == {"", "/billing.0"}
            assert tape.calls(NodeType.TOOL)[0].scope.endswith("/triage.0/billing.0")
        assert doubts == 1


def streamed(server: ModelServer, on_event: Callable[[Any], None] = lambda _: None) -> list[Any]:
    """Return the events that the model's stream has, through the runner."""
    found: list[Any] = []

    async def read() -> None:
        result = Runner.run_streamed(Agent("writer", model=model_of(server)), "hello")
        async for event in result.stream_events():
            if event.type == "raw_response_event":
                found.append(event.data)
                on_event(event.data)

    asyncio.run(read())
    return found


def text_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if isinstance(event, ResponseTextDeltaEvent))


def test_a_stream_is_answered_as_a_stream_and_its_end_is_recorded_before_the_last_event() -> None:
    with ModelServer(plain_script) as server:
        tape = Tape()
        ended: list[int] = []
        with tape.life():
            first = streamed(server, lambda _: ended.append(len(tape.calls(NodeType.PROMPT, "ended"))))
        with tape.life() as session:
            again = streamed(server)
            assert session.executed == 0
        assert asked_of(server) == 1
    assert ended[-1] == 1
    assert len(first) > len(again) > 4
    assert text_of(again) == text_of(first)
    assert again[-1] == first[-1]
    assert [type(one) for one in again if "Delta" not in type(one).__name__] == [
        type(one) for one in first if "Delta" not in type(one).__name__
    ]


def test_a_stream_that_is_left_is_asked_again() -> None:
    async def leave(server: ModelServer) -> None:
        stream = plain_stream(server)
        async for _ in stream:
            break
        await stream.aclose()

    with ModelServer(plain_script) as server:
        tape = Tape()
        for life in (1, 2):
            with tape.life() as session:
                asyncio.run(leave(server))
                assert (session.executed, session.reused) == (1, 0)
            assert asked_of(server) == life


def plain_stream(server: ModelServer) -> Any:
    from agents import ModelSettings, ModelTracing

    model: Model = model_of(server)
    return model.stream_response(
        None,
        "hello",
        ModelSettings(),
        [],
        None,
        [],
        ModelTracing.DISABLED,
        previous_response_id=None,
        conversation_id=None,
        prompt=None,
    )


class Cautious(Model):
    """A model that asks another one."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        return await self.inner.get_response(*args, **kwargs)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner.stream_response(*args, **kwargs)


@pytest.mark.parametrize("way", ["async", "stream"])
def test_a_model_around_another_is_one_call(way: Any) -> None:
    with ModelServer(plain_script) as server:
        found, tape = lives_of(lambda: run_agent(Agent("a", model=Cautious(model_of(server))), way).final_output)
        assert asked_of(server) == 1
    assert found[0] == found[1]
    assert [line.name for line in tape.calls(NodeType.PROMPT)] == ["Cautious"]

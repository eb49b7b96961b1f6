"""Tools, outputs, nested agents and streams of Pydantic AI: errors, approval, retries, types, scopes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    ApprovalRequired,
    CallDeferred,
    DeferredToolRequests,
    DeferredToolResults,
    ModelRetry,
    RunContext,
    Tool,
    ToolReturn,
)
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ToolRetryError, UnexpectedModelBehavior
from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.wrapper import WrapperModel
from tests.instrumentation.fake_session import Killed, Tape
from tests.instrumentation.pydantic_ai_team import RAN, Way, asked_of, charge_card, model_of, run_agent

from livespan.instrumentation.context import idempotency_key
from livespan.instrumentation.decorators import tool as recorded_tool
from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.errors import Divergence, InDoubt, RunStopped, Unrecordable
from livespan.proto.node import NodeType
from livespan.replay.testing import Conversation, ModelServer, Reply, ToolCall, plain_script


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    instrument(["pydantic_ai"])
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


def test_a_retry_that_a_tool_asks_for_is_an_outcome() -> None:
    def pay(cents: int) -> str:
        """Pay."""
        RAN["pay"] += 1
        raise ModelRetry(f"not {cents}, {RAN['pay']}")

    with ModelServer(asking(ToolCall("pay", {"cents": 1}))) as server:
        found, tape = lives_of(lambda: run_agent(Agent(model_of(server), tools=[pay]))[1])
        assert asked_of(server) == 2
    assert "not 1, 1" in found[0]
    assert found[0] == found[1]
    assert RAN["pay"] == 1
    assert tape.calls(NodeType.TOOL, "ended")[0].attributes[names.ERROR_TYPE].endswith("ModelRetry")


def test_an_error_of_a_tool_is_raised_again() -> None:
    def pay(cents: int) -> str:
        """Pay."""
        RAN["pay"] += 1
        raise Declined(f"{cents} were declined, {RAN['pay']}")

    with ModelServer(asking(ToolCall("pay", {"cents": 1}))) as server:

        def program() -> str:
            with pytest.raises(Declined, match="1 were declined, 1") as caught:
                run_agent(Agent(model_of(server), tools=[pay]))
            return str(caught.value)

        found, _ = lives_of(program)
    assert found[0] == found[1]
    assert RAN["pay"] == 1


@pytest.mark.parametrize("arguments", [{"cents": "many"}, {}])
def test_arguments_that_cannot_be_read_are_no_call(arguments: dict[str, object]) -> None:
    with ModelServer(asking(ToolCall("charge_card", arguments))) as server:
        found, tape = lives_of(lambda: run_agent(Agent(model_of(server), tools=[charge_card]))[1])
        assert asked_of(server) == 2
    assert found[0] == found[1]
    assert tape.calls(NodeType.TOOL) == []


def test_a_timeout_is_an_outcome() -> None:
    async def wait(seconds: int) -> str:
        """Wait."""
        RAN["wait"] += 1
        await asyncio.sleep(seconds)
        return "waited"

    with ModelServer(asking(ToolCall("wait", {"seconds": 60}))) as server:
        found, _ = lives_of(lambda: run_agent(Agent(model_of(server), tools=[Tool(wait, timeout=0.05)]))[1])
    assert "imed out" in found[0]
    assert found[0] == found[1]
    assert RAN["wait"] == 1


@pytest.mark.parametrize("how", ["declared", "raised", "deferred"])
def test_a_call_that_waits_for_a_person_is_not_done(how: str) -> None:
    def pay(ctx: RunContext[object], cents: int) -> str:
        """Pay."""
        if how == "raised" and not ctx.tool_call_approved:
            raise ApprovalRequired
        if how == "deferred":
            raise CallDeferred
        RAN["pay"] += 1
        return f"paid {cents}, {RAN['pay']}"

    with ModelServer(asking(ToolCall("pay", {"cents": 1}))) as server:
        agent = Agent(
            model_of(server),
            name="shop",
            tools=[Tool(pay, requires_approval=how == "declared")],
            output_type=[str, DeferredToolRequests],
        )

        def program(answer: bool) -> str:
            messages, asked = run_agent(agent)
            assert isinstance(asked, DeferredToolRequests)
            assert RAN["pay"] == len([line for line in tape.calls(NodeType.TOOL, "ended") if not line.failed])
            if not answer:
                return "asked"
            results = DeferredToolResults()
            for call in asked.approvals:
                results.approvals[call.tool_call_id] = True
            for call in asked.calls:
                results.calls[call.tool_call_id] = "paid elsewhere"
            return str(run_agent(agent, question=None, message_history=messages, deferred_tool_results=results)[1])

        tape = Tape()
        with tape.life():
            assert program(answer=False) == "asked"
        found, _ = lives_of(lambda: program(answer=True), tape=tape)
        assert asked_of(server) == 2
    assert found == ["paid elsewhere" if how == "deferred" else "paid 1, 1"] * 2
    assert RAN["pay"] == (0 if how == "deferred" else 1)


def test_parallel_equal_charges_are_each_done_once() -> None:
    calls = [ToolCall("charge_card", {"cents": 1})] * 3
    with ModelServer(asking(*calls), random_ids=True) as server:

        def program(label: str) -> str:
            return str(run_agent(Agent(model_of(server, label), tools=[charge_card]))[1])

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

    def charge(cents: int) -> str:
        """Charge."""
        seen.append(idempotency_key())
        if len(seen) == 1:
            tape.dead = True
            raise Killed
        return "charged"

    instrument(in_doubt={"charge": "retry"})
    with ModelServer(asking(ToolCall("charge", {"cents": 1}))) as server:
        agent = Agent(model_of(server), tools=[charge])
        tape = Tape()
        with pytest.raises(Killed), tape.life():
            run_agent(agent)
        with tape.life():
            assert run_agent(agent)[1] == "charged"
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
        agent = Agent(model_of(server), tools=[charge])
        tape = Tape()
        with pytest.raises(Killed), tape.life():
            run_agent(agent)
        with tape.life():
            assert run_agent(agent)[1] == "charged 1"
    effects = [line.attributes.get(names.EFFECT, False) for line in tape.calls(NodeType.TOOL)]
    assert effects == [False, True, False, True]


class Receipt(BaseModel):
    """What a tool returns, and what an agent does."""

    cents: int
    number: str = "7"


@pytest.mark.parametrize(
    "result", [Receipt(cents=1), ToolReturn("paid", metadata={"pair": (1, 2)}), {"a": [1]}, None, b"bytes"]
)
def test_what_tools_return_comes_back_with_its_type(result: Any) -> None:
    seen: list[Any] = []

    class Watching(AbstractCapability[Any]):
        async def after_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, result: Any) -> Any:
            seen.append(result)
            return result

    def pay() -> Any:
        """Pay."""
        return result

    with ModelServer(asking(ToolCall("pay", {}))) as server:
        found, _ = lives_of(lambda: run_agent(Agent(model_of(server), tools=[pay], capabilities=[Watching()]))[1])
    assert found[0] == found[1]
    assert seen[0] == seen[1]
    assert type(seen[0]) is type(seen[1])


def test_a_result_that_no_codec_holds_is_refused_now_and_again() -> None:
    def opaque() -> Any:
        """Return what nobody holds."""
        RAN["opaque"] += 1
        return object()

    with ModelServer(asking(ToolCall("opaque", {}))) as server:

        def program() -> None:
            with pytest.raises(Unrecordable):
                run_agent(Agent(model_of(server), tools=[opaque]))

        lives_of(program)
    assert RAN["opaque"] == 1


def output_script(conversation: Conversation, /) -> Reply:
    """Give the output by its tool, a wrong one first."""
    asked = sum(message.role == "assistant" for message in conversation.messages)
    return Reply(tool_calls=(ToolCall(conversation.tools[-1], {"cents": "many" if asked == 0 else asked}),))


@pytest.mark.parametrize("way", ["async", "stream", "events"])
def test_an_output_that_is_asked_for_again_is_answered_from_the_record(way: Way) -> None:
    with ModelServer(output_script, random_ids=True) as server:

        def program() -> Any:
            agent: Agent[object, Receipt] = Agent(model_of(server), output_type=Receipt, retries=3)

            @agent.output_validator
            def check(ctx: RunContext[object], output: Receipt) -> Receipt:
                if output.cents < 2 and not ctx.partial_output:
                    raise ModelRetry("more")
                return output

            return run_agent(agent, way)[1]

        # A stream that has shown an output cannot take it back, so there is no second question.
        if way == "stream":
            for _ in range(2):
                with Tape().life(), pytest.raises((UnexpectedModelBehavior, ModelRetry, ToolRetryError)):
                    program()
            return
        found, tape = lives_of(program)
        assert asked_of(server) == 3
    assert found == [Receipt(cents=2)] * 2
    assert type(found[1]) is Receipt
    assert len(tape.calls(NodeType.PROMPT)) == 3


def test_a_text_that_is_asked_for_again_is_answered_from_the_record() -> None:
    def script(conversation: Conversation, /) -> Reply:
        return Reply(text=str(len(conversation.messages)))

    with ModelServer(script) as server:

        def program() -> Any:
            agent: Agent[None, str] = Agent(model_of(server), retries=3)

            @agent.output_validator
            def check(output: str) -> str:
                if int(output) < 3:
                    raise ModelRetry("more")
                return output

            return run_agent(agent)[1]

        found, _ = lives_of(program)
        assert asked_of(server) == 2
    assert found[0] == found[1]


@pytest.mark.parametrize("way", ["async", "events"])
def test_an_output_function_is_a_tool(way: Way) -> None:
    def settle(cents: int) -> Receipt:
        """Settle it."""
        RAN["settle"] += 1
        return Receipt(cents=cents, number=str(RAN["settle"]))

    with ModelServer(output_script, random_ids=True) as server:

        def program(label: str) -> Any:
            return run_agent(Agent(model_of(server, label), output_type=settle, retries=3), way)[1]

        doubts = 0
        for tape, answer in killed_everywhere(program):
            assert RAN["settle"] <= 1
            if answer is None:
                doubts += 1
            else:
                assert answer == Receipt(cents=1, number="1")
                assert [line.name for line in tape.calls(NodeType.TOOL)] == ["settle"]
        assert doubts == 1


def team_script(conversation: Conversation, /) -> Reply:
    """The boss asks two clerks at once; a clerk charges."""
    last = conversation.messages[-1]
    results = [message.text for message in conversation.messages if message.role == "tool"]
    if last.role == "tool":
        return Reply(text=" and ".join(results))
    if "clerk" in conversation.tools:
        return Reply(tool_calls=tuple(ToolCall("clerk", {"request": f"charge {cents}"}) for cents in (1, 2)))
    return Reply(tool_calls=(ToolCall("charge_card", {"cents": int(last.text.split()[-1])}),))


def boss_of(server: ModelServer, label: str, scoped: bool, instructions: str = "Charge.") -> Agent[None, str]:
    inner: Agent[None, str] = Agent(
        model_of(server, label), name="clerk", tools=[charge_card], instructions=instructions
    )

    async def clerk(request: str) -> str:
        """Charges."""
        return (await inner.run(request)).output

    return Agent(model_of(server, label), name="boss", tools=[recorded_tool(scope=True)(clerk) if scoped else clerk])


def test_agents_in_tools_that_are_scopes_are_entered_again_and_what_they_did_is_answered() -> None:
    with ModelServer(team_script, random_ids=True) as server:
        answered = 0
        for tape, answer in killed_everywhere(lambda label: run_agent(boss_of(server, label, scoped=True))[1]):
            assert RAN["charge_card"] <= 2
            if answer is not None:
                answered += 1
                assert sorted(text.split(",")[0] for text in answer.split(" and ")) == ["charged 1", "charged 2"]
                assert RAN["charge_card"] == 2
                assert len(tape.calls(NodeType.PROMPT, "ended")) == 6
        assert answered > 10


def test_an_agent_in_a_plain_tool_is_in_doubt_as_a_whole() -> None:
    with ModelServer(team_script, random_ids=True) as server:
        tape = Tape()
        with suppress(Killed), tape.life(12):
            run_agent(boss_of(server, "agent", scoped=False))
        with pytest.raises((InDoubt, RunStopped), match="clerk"), tape.life():
            run_agent(boss_of(server, "agent", scoped=False))


def test_a_clerks_stop_ends_the_boss_too() -> None:
    with ModelServer(team_script, random_ids=True) as server:
        whole = Tape()
        with whole.life():
            run_agent(boss_of(server, "agent", scoped=True))
        place = next(n for n, line in enumerate(whole.lines, 1) if line.name == "charge_card")
        tape = Tape()
        with suppress(Killed), tape.life(place - 1):
            run_agent(boss_of(server, "agent", scoped=True))
        asked, ran = asked_of(server), RAN.copy()
        with pytest.raises((Divergence, RunStopped)), tape.life(), suppress(Exception):
            run_agent(boss_of(server, "agent", scoped=True, instructions="Do not charge."))
        assert (asked_of(server), RAN) == (asked, ran)


def test_a_hook_that_swallows_everything_leads_to_no_second_effect() -> None:
    class Swallowing(AbstractCapability[Any]):
        async def wrap_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:
            try:
                return await handler(args)
            except BaseException:
                return "it went well"

    with ModelServer(asking(ToolCall("charge_card", {"cents": 1}))) as server:

        def program() -> Any:
            return run_agent(Agent(model_of(server), tools=[charge_card], capabilities=[Swallowing()]))

        whole = Tape()
        with whole.life():
            program()
        place = next(n for n, line in enumerate(whole.lines, 1) if line.name == "charge_card")
        tape = Tape()
        with suppress(BaseException), tape.life(place):
            program()
        asked, ran = asked_of(server), RAN.copy()
        with pytest.raises((InDoubt, RunStopped)), tape.life():
            program()
        assert (asked_of(server), RAN) == (asked, ran)


def test_hooks_around_a_call_run_in_every_life() -> None:
    @dataclass
    class Counting(AbstractCapability[Any]):
        async def before_model_request(self, ctx: Any, request_context: Any) -> Any:
            RAN["before_model_request"] += 1
            return request_context

        async def before_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any) -> Any:
            RAN["before_tool_execute"] += 1
            return args

    with ModelServer(asking(ToolCall("charge_card", {"cents": 1}))) as server:
        lives_of(lambda: run_agent(Agent(model_of(server), tools=[charge_card], capabilities=[Counting()])))
    assert (RAN["before_model_request"], RAN["before_tool_execute"], RAN["charge_card"]) == (4, 2, 1)


def streamed(server: ModelServer, on_event: Callable[[Any], None] = lambda _: None) -> list[Any]:
    """Return the events that the model's stream has, by its own door."""
    found: list[Any] = []

    async def read() -> None:
        async with _opened(server) as stream:
            async for event in stream:
                found.append(event)
                on_event(event)

    asyncio.run(read())
    return found


def _opened(server: ModelServer) -> Any:
    from pydantic_ai.messages import ModelRequest

    return model_of(server).request_stream([ModelRequest.user_text_prompt("hello")], None, ModelRequestParameters())


def text_of(events: list[Any]) -> str:
    text = ""
    for event in events:
        if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
            text += event.part.content
        elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
            text += event.delta.content_delta
    return text


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
    assert len(first) > len(again) > 1
    assert text_of(again) == text_of(first)
    assert type(again[-1]) is type(first[-1])


@pytest.mark.parametrize("by_error", [False, True])
def test_a_stream_that_is_left_is_asked_again(by_error: bool) -> None:
    async def leave(server: ModelServer) -> None:
        async with _opened(server) as stream:
            async for _ in stream:
                if by_error:
                    raise Killed
                break

    with ModelServer(plain_script) as server:
        tape = Tape()
        for life in (1, 2):
            with suppress(Killed), tape.life() as session:
                with suppress(Killed):
                    asyncio.run(leave(server))
                assert (session.executed, session.reused) == (1, 0)
            assert asked_of(server) == life


@pytest.mark.parametrize("way", ["async", "stream", "events"])
@pytest.mark.parametrize("around", [WrapperModel, FallbackModel])
def test_a_model_around_another_is_one_call(way: Way, around: Any) -> None:
    with ModelServer(plain_script) as server:
        found, tape = lives_of(lambda: run_agent(Agent(around(model_of(server))), way)[1])
        assert asked_of(server) == 1
    assert found[0] == found[1]
    assert len(tape.calls(NodeType.PROMPT)) == 1

"""Tools of LangChain, recorded: what they return and raise, what they are declared to be, and what they are given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Annotated, Any, cast

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, tool
from langgraph import graph as graphs
from langgraph import prebuilt
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command, Send, interrupt
from tests.instrumentation.fake_session import Killed, Tape
from tests.instrumentation.langgraph_agents import RAN, create_agent, model_of, shape

from livespan.instrumentation.core import NotDone
from livespan.instrumentation.decorators import tool as recorded_tool
from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.codec import decode, encode
from livespan.proto.errors import InDoubt, RecordedError, Unrecordable
from livespan.proto.node import NodeType
from livespan.replay.testing import Conversation, ModelServer, Reply, ToolCall

both = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
StateGraph: Callable[..., Any] = cast("Any", graphs).StateGraph
ToolNode: Callable[..., Any] = cast("Any", prebuilt).ToolNode


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    instrument(["langgraph"])
    yield
    uninstrument()


def call_once(conversation: Conversation, /) -> Reply:
    """Ask for the only tool with one argument, then quote what came."""
    last = conversation.messages[-1]
    if last.role == "user":
        return Reply(tool_calls=(ToolCall(conversation.tools[0], {"n": 1 if "good" in last.text else "no number"}),))
    return Reply(text=f"it said: {last.text}")


def of_tool(subject: BaseTool, *, use_async: bool, **given: Any) -> Any:
    return asyncio.run(subject.ainvoke(given)) if use_async else subject.invoke(given)


def lives_of(program: Callable[[], Any], count: int = 2) -> tuple[list[Any], Tape]:
    """Return what each life gave or raised."""
    tape, found = Tape(), list[Any]()
    for _ in range(count):
        with tape.life():
            try:
                found.append(program())
            except Exception as error:
                found.append(error)
    return found, tape


class Declined(Exception):
    """An error with a name that a later life finds."""


@both
@pytest.mark.parametrize("handled", [True, False])
def test_an_error_that_became_a_message_becomes_the_same_message_again(use_async: bool, handled: bool) -> None:
    @tool
    def pay(n: int) -> str:
        """Pay."""
        RAN["pay"] += 1
        raise Declined(f"card {RAN['pay']} was declined")

    with ModelServer(call_once, random_ids=True) as server:

        def program() -> Any:
            model = cast("Any", model_of(server)).bind_tools([pay])

            def ask(state: graphs.MessagesState) -> Any:
                return {"messages": [model.invoke(state["messages"])]}

            graph = StateGraph(graphs.MessagesState)
            graph.add_node("ask", ask)
            graph.add_node("tools", ToolNode([pay], handle_tool_errors=handled))
            graph.add_edge(graphs.START, "ask")
            graph.add_conditional_edges("ask", prebuilt.tools_condition)
            graph.add_edge("tools", "ask")
            built = graph.compile()
            asked = {"messages": [HumanMessage("good", id="asked")]}
            state = asyncio.run(built.ainvoke(asked)) if use_async else built.invoke(asked)
            return shape(state["messages"])

        if handled:
            (first, again), _ = lives_of(program)
            assert again == first
            assert "card 1 was declined" in str(first)
            assert RAN["pay"] == 1
        else:
            # The error ended the run: the effect is in doubt, since it may have happened before it.
            tape = Tape()
            with pytest.raises(Declined), tape.life():
                program()
            with pytest.raises(InDoubt), tape.life():
                program()
            assert RAN["pay"] == 1


@both
def test_a_caught_error_comes_back_with_its_type_or_as_recorded_error(use_async: bool) -> None:
    class Hidden(Exception):
        """An error that no later life can name."""

    @tool
    def fail(hidden: bool) -> str:
        """Fail."""
        RAN["fail"] += 1
        raise Hidden("x") if hidden else Declined("x")

    def program() -> list[BaseException]:
        found: list[BaseException] = []
        for hidden in (False, True):
            try:
                of_tool(fail, use_async=use_async, hidden=hidden)
            except Exception as error:
                found.append(error)
        return found

    (first, again), _ = lives_of(program)
    assert [type(error) for error in first] == [Declined, Hidden]
    assert [type(error) for error in again] == [Declined, RecordedError]
    assert again[1].type_name.endswith("Hidden")
    assert RAN["fail"] == 2


@both
def test_an_effect_that_says_it_was_not_done_is_asked_again_when_its_error_ended_the_run(use_async: bool) -> None:
    @tool
    def pay(n: int) -> str:
        """Pay."""
        RAN["pay"] += 1
        if RAN["pay"] == 1:
            raise NotDone("declined")
        return "paid"

    tape = Tape()
    with pytest.raises(NotDone), tape.life():
        of_tool(pay, use_async=use_async, n=1)
    with tape.life():
        assert of_tool(pay, use_async=use_async, n=1) == "paid"


@both
def test_bad_arguments_are_no_call(use_async: bool) -> None:
    @tool
    def pay(n: int) -> str:
        """Pay."""
        RAN["pay"] += 1
        return "paid"

    with ModelServer(call_once, random_ids=True) as server:

        def program() -> Any:
            agent = create_agent(model_of(server), [pay])
            asked = {"messages": [HumanMessage("bad", id="asked")]}
            state = asyncio.run(agent.ainvoke(asked)) if use_async else agent.invoke(asked)
            return shape(state["messages"])

        (first, again), tape = lives_of(program)
    assert again == first
    assert "no number" in str(first)
    assert tape.calls(NodeType.TOOL) == []
    assert RAN["pay"] == 0


@both
def test_what_tools_return_comes_back_with_its_type(use_async: bool) -> None:
    @tool
    def as_dict() -> dict[str, Any]:
        """Return a dict."""
        return {"a": (1, 2), "b": None}

    @tool(response_format="content_and_artifact")
    def with_artifact() -> tuple[str, Any]:
        """Return content and artifact."""
        return "content", {"pair": (1, 2)}

    @tool
    def command(call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Return a command."""
        return Command(
            update={"messages": [ToolMessage("done", tool_call_id=call_id, artifact=(1,))]},
            goto=[Send("node", {"n": (1, 2)}), "other"],
            graph=Command.PARENT,
        )

    async def all_async() -> list[Any]:
        return [await subject.ainvoke(call) for subject, call in asked()]

    def asked() -> list[tuple[BaseTool, Any]]:
        calls: list[tuple[BaseTool, Any]] = [(as_dict, {})]
        for_model = (as_dict, with_artifact, command)
        return [
            *calls,
            *[(one, {"type": "tool_call", "name": one.name, "args": {}, "id": one.name}) for one in for_model],
        ]

    def program() -> list[Any]:
        return asyncio.run(all_async()) if use_async else [subject.invoke(call) for subject, call in asked()]

    (first, again), tape = lives_of(program)
    assert [type(one) for one in first] == [dict, ToolMessage, ToolMessage, Command]
    assert [type(one) for one in again] == [type(one) for one in first]
    assert again == first
    assert again[0]["a"] == (1, 2)
    assert again[2].artifact == {"pair": (1, 2)}
    assert len(tape.calls(NodeType.TOOL)) == 4


def test_a_command_with_sends_is_held_with_its_types() -> None:
    command: Command[Any] = Command(update=[("messages", [AIMessage("a")])], goto=Send("node", {"x": 1}))
    again = cast("Any", decode(encode(command)))
    assert again == command
    assert type(again.goto) is Send
    assert type(again.update[0]) is tuple


@both
def test_a_result_that_no_codec_holds_is_refused_now_and_again(use_async: bool) -> None:
    @tool
    def opaque() -> Any:
        """Return what nobody holds."""
        RAN["opaque"] += 1
        return object()

    (first, again), _ = lives_of(lambda: of_tool(opaque, use_async=use_async))
    assert isinstance(first, Unrecordable)
    assert isinstance(again, Unrecordable)
    assert RAN["opaque"] == 1


@both
def test_what_the_framework_puts_among_the_arguments_is_not_recorded(use_async: bool) -> None:
    class Chat(graphs.MessagesState):
        secret: str

    @tool
    def pay(n: int, state: Annotated[Any, prebuilt.InjectedState], call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Pay."""
        return f"paid {n} with {state['secret']} for {call_id}"

    graph = StateGraph(Chat)
    graph.add_node("tools", ToolNode([pay]))
    graph.add_edge(graphs.START, "tools")
    built = graph.compile()

    def program() -> Any:
        calls = [{"name": "pay", "args": {"n": 1}, "id": "c1"}]
        asked = {"messages": [AIMessage("", tool_calls=calls)], "secret": "s"}
        state = asyncio.run(built.ainvoke(asked)) if use_async else built.invoke(asked)
        return state["messages"][-1].content

    found, tape = lives_of(program)
    assert found == ["paid 1 with s for c1"] * 2
    assert [line.attributes[names.TOOL_ARGUMENTS] for line in tape.calls(NodeType.TOOL)] == ['{"n":1}']


@both
def test_a_tool_over_a_decorated_function_goes_by_what_that_one_says(use_async: bool) -> None:
    @recorded_tool(in_doubt="retry")
    def charge(n: int) -> str:
        """Charge."""
        RAN["charge"] += 1
        if RAN["charge"] == 1:
            tape.dead = True
            raise Killed
        return f"charged {n}"

    wrapped = tool(charge)
    tape = Tape()
    with pytest.raises(Killed), tape.life():
        of_tool(wrapped, use_async=use_async, n=1)
    with tape.life():
        assert of_tool(wrapped, use_async=use_async, n=1) == "charged 1"
    effects = [line.attributes.get(names.EFFECT, False) for line in tape.calls(NodeType.TOOL)]
    assert effects == [False, True, False, True]
    assert RAN["charge"] == 2


@both
@pytest.mark.parametrize(
    ("metadata", "effects", "expected"),
    [
        (None, {}, True),
        ({"readOnlyHint": True}, {}, False),
        ({"readOnlyHint": True}, {"look": True}, True),
        (None, {"look": False}, False),
    ],
)
def test_a_tool_is_an_effect_unless_it_is_declared_a_read(
    use_async: bool, metadata: dict[str, Any] | None, effects: dict[str, bool], expected: bool
) -> None:
    @tool
    def look() -> str:
        """Look."""
        return "seen"

    look.metadata = metadata
    instrument(effects=effects)
    _, tape = lives_of(lambda: of_tool(look, use_async=use_async))
    assert [line.attributes.get(names.EFFECT, False) for line in tape.calls(NodeType.TOOL)] == [expected]


@both
def test_a_tool_that_waits_for_a_person_is_not_in_doubt(use_async: bool) -> None:
    @tool
    def pay(n: int) -> str:
        """Pay, if a person agrees."""
        answer = interrupt({"pay": n})
        RAN["pay"] += 1
        return f"paid {n}: {answer}"

    def run(server: ModelServer, *, answer: bool) -> list[Any]:
        agent = create_agent(model_of(server), [pay], checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "t"}}
        found: list[Any] = []
        for asked in [{"messages": [HumanMessage("good")]}, Command(resume="yes")][: 2 if answer else 1]:
            state = asyncio.run(agent.ainvoke(asked, config)) if use_async else agent.invoke(asked, config)
            found.append([one.value for one in state.get("__interrupt__", ())] or state["messages"][-1].content)
        return found

    with ModelServer(call_once, random_ids=True) as server:
        tape = Tape()
        with tape.life():
            assert run(server, answer=False) == [[{"pay": 1}]]
        for _ in range(2):
            with tape.life():
                assert run(server, answer=True) == [[{"pay": 1}], "it said: paid 1: yes"]
        assert server.counts("agent").requests == 2
    assert RAN["pay"] == 1


@both
def test_a_tool_left_by_the_frameworks_own_signal_is_not_in_doubt_when_that_ended_the_run(use_async: bool) -> None:
    @tool
    def pay(n: int) -> str:
        """Pay."""
        RAN["pay"] += 1
        if RAN["pay"] == 1:
            raise GraphBubbleUp
        return "paid"

    tape = Tape()
    with pytest.raises(GraphBubbleUp), tape.life():
        of_tool(pay, use_async=use_async, n=1)
    with tape.life():
        assert of_tool(pay, use_async=use_async, n=1) == "paid"


@both
def test_the_text_of_a_message_may_be_given_to_a_tool_and_returned_by_it(use_async: bool) -> None:
    @tool
    def pay(words: str) -> str:
        """Pay."""
        RAN["pay"] += 1
        return AIMessage(f"paid {words}").text

    def program() -> Any:
        return of_tool(pay, use_async=use_async, words=HumanMessage("4200 cents").text)

    found, _ = lives_of(program)
    assert found == ["paid 4200 cents"] * 2
    assert type(found[0]) is type(found[1])
    assert RAN["pay"] == 1

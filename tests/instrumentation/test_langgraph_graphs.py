"""Graphs of the user's own, recorded: parallel nodes and tools, ToolNode, subgraphs, sub-agents."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any, TypedDict, cast

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph import graph as graphs
from langgraph import prebuilt
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Send
from tests.instrumentation.fake_session import Killed, Tape
from tests.instrumentation.langgraph_agents import (
    RAN,
    asked_of,
    check_stock,
    create_agent,
    look_up_order,
    model_of,
)

import livespan.instrumentation as ls
from livespan.instrumentation.decorators import tool as recorded_tool
from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.errors import Divergence, InDoubt, RunStopped
from livespan.proto.node import NodeType
from livespan.replay.testing import Conversation, ModelServer, Reply, ToolCall, plain_script

both = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
# The signatures of these are only partly typed in their own packages.
StateGraph: Callable[..., Any] = cast("Any", graphs).StateGraph
ToolNode: Callable[..., Any] = cast("Any", prebuilt).ToolNode


def newer(old: int, new: int) -> int:
    """Keep what was written last."""
    del old
    return new


class State(TypedDict):
    out: Annotated[list[Any], operator.add]
    n: Annotated[int, newer]


class Chat(TypedDict):
    messages: Annotated[list[Any], graphs.add_messages]


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    instrument(["langgraph"], effects={"look_up_order": False, "check_stock": False})
    yield
    uninstrument()


@tool
def ship(parcel: str) -> str:
    """Ship a parcel."""
    RAN[f"ship {parcel}"] += 1
    RAN["ship"] += 1
    return f"{parcel} is shipped as {RAN['ship']}"


def three_parcels(conversation: Conversation) -> Reply:
    """Ask for three parcels at once, two of them equal."""
    if conversation.messages[-1].role == "user":
        return Reply(tool_calls=tuple(ToolCall("ship", {"parcel": parcel}) for parcel in ("a", "b", "b")))
    return Reply(text=" / ".join(message.text for message in conversation.messages if message.role == "tool"))


def one_of(graph: Any, value: Any, *, use_async: bool) -> Any:
    return asyncio.run(graph.ainvoke(value)) if use_async else graph.invoke(value)


def agree(program: Callable[[], Any], server: ModelServer, *labels: str) -> Tape:
    """Check that a second life gives what the first gave, and makes no call."""
    tape = Tape()
    with tape.life():
        first = program()
    asked, ran = [asked_of(server, label) for label in labels], RAN.copy()
    with tape.life() as session:
        again = program()
        assert session.executed == 0
    assert again == first
    assert [asked_of(server, label) for label in labels] == asked
    assert ran == RAN
    return tape


@both
def test_three_parallel_effects_each_run_once_wherever_the_run_is_killed(use_async: bool) -> None:
    with ModelServer(three_parcels, random_ids=True) as server:

        def program() -> str:
            agent = create_agent(model_of(server), [ship])
            state = one_of(agent, {"messages": [HumanMessage("ship")]}, use_async=use_async)
            return str(state["messages"][-1].content)

        whole = Tape()
        with whole.life():
            program()
        doubts = 0
        for killed_after in range(2, len(whole.lines) + 1, 2):
            RAN.clear()
            tape = Tape()
            with suppress(Killed, AttributeError), tape.life(killed_after):
                program()
            in_doubt = any(line.attributes.get(names.EFFECT) for line in tape.open_calls())
            try:
                with tape.life():
                    text = program()
            except (InDoubt, RunStopped):
                assert in_doubt
                doubts += 1
                continue
            assert not in_doubt
            assert (RAN["ship a"], RAN["ship b"]) == (1, 2)
            assert len(set(text.split(" / "))) == 3
        assert doubts >= 1


@both
def test_a_tool_node_makes_the_calls_of_one_message_beside_each_other(use_async: bool) -> None:
    graph = StateGraph(Chat)
    with ModelServer(three_parcels, random_ids=True) as server:
        model = cast("Any", model_of(server)).bind_tools([ship])

        async def ask_async(state: Chat) -> Any:
            return {"messages": [await model.ainvoke(state["messages"])]}

        def ask(state: Chat) -> Any:
            return {"messages": [model.invoke(state["messages"])]}

        graph.add_node("ask", ask_async if use_async else ask)
        graph.add_node("tools", ToolNode([ship]))
        graph.add_edge(graphs.START, "ask")
        graph.add_edge("ask", "tools")
        built = graph.compile()

        def program() -> list[str]:
            state = one_of(built, {"messages": [HumanMessage("ship")]}, use_async=use_async)
            return [str(message.content) for message in state["messages"]]

        tape = agree(program, server, "agent")
    assert RAN["ship"] == 3
    around = "/~Pregel.ainvoke.0" if use_async else ""
    assert tape.scopes(NodeType.TOOL) == [f"{around}/LangGraph.0/tools@2.0"] * 3
    assert tape.scopes(NodeType.PROMPT) == [f"{around}/LangGraph.0/ask@1.0"]


@both
def test_calls_without_issued_ids_beside_each_other_are_told_apart_by_their_place(use_async: bool) -> None:
    graph = StateGraph(Chat)
    graph.add_node("tools", ToolNode([ship]))
    graph.add_edge(graphs.START, "tools")
    built = graph.compile()
    lives = iter(range(9))

    def program() -> list[str]:
        life = next(lives)
        calls = [{"name": "ship", "args": {"parcel": "b"}, "id": f"drawn-{life}-{n}"} for n in range(3)]
        state = one_of(built, {"messages": [AIMessage("", tool_calls=calls)]}, use_async=use_async)
        assert [message.tool_call_id for message in state["messages"][1:]] == [call["id"] for call in calls]
        return [str(message.content) for message in state["messages"]]

    with ModelServer() as server:
        agree(program, server)
    assert RAN["ship"] == 3


@both
def test_equal_model_and_tool_calls_in_one_node_are_numbered(use_async: bool) -> None:
    graph = StateGraph(State)
    with ModelServer(plain_script, random_ids=True) as server:
        model = model_of(server)

        async def node_async(state: State) -> Any:
            texts = [str((await model.ainvoke("hello")).content) for _ in range(2)]
            return {"out": [*texts, await ship.ainvoke({"parcel": "x"}), await ship.ainvoke({"parcel": "x"})]}

        def node(state: State) -> Any:
            texts = [str(model.invoke("hello").content) for _ in range(2)]
            return {"out": [*texts, ship.invoke({"parcel": "x"}), ship.invoke({"parcel": "x"})]}

        graph.add_node("work", node_async if use_async else node)
        graph.add_edge(graphs.START, "work")
        built = graph.compile()
        found: list[list[str]] = []

        def program() -> list[str]:
            found.append(one_of(built, {"out": [], "n": 0}, use_async=use_async)["out"])
            return found[-1]

        tape = agree(program, server, "agent")
    assert len(set(found[0])) == 4
    around = "/~Pregel.ainvoke.0" if use_async else ""
    assert set(tape.scopes(NodeType.TOOL)) == {f"{around}/LangGraph.0/work@1.0"}


@both
def test_a_subgraph_and_a_sub_agent_in_parallel_sends_keep_their_scopes(use_async: bool) -> None:
    with ModelServer(plain_script, random_ids=True) as server:
        model = model_of(server)

        def think(state: State) -> Any:
            return {"out": [str(model.invoke("same words").content)]}

        async def think_async(state: State) -> Any:
            return {"out": [str((await model.ainvoke("same words")).content)]}

        inner = StateGraph(State)
        inner.add_node("think", think_async if use_async else think)
        inner.add_edge(graphs.START, "think")
        subgraph = inner.compile(name="inner")
        helper = create_agent(model_of(server, "helper"), [], name="helper")

        def ask_helper(state: State) -> Any:
            return {"out": [helper.invoke({"messages": [HumanMessage("help")]})["messages"][-1].content]}

        async def ask_helper_async(state: State) -> Any:
            answer = await helper.ainvoke({"messages": [HumanMessage("help")]})
            return {"out": [answer["messages"][-1].content]}

        def spread(state: State) -> list[Send]:
            del state
            return [Send(node, {"out": [], "n": n}) for n, node in enumerate(("sub", "sub", "ask", "ask"))]

        outer = StateGraph(State)
        outer.add_node("sub", subgraph)
        outer.add_node("ask", ask_helper_async if use_async else ask_helper)
        outer.add_conditional_edges(
            graphs.START,
            spread,
        )
        built = outer.compile(name="outer")

        def program() -> list[str]:
            return cast("list[str]", one_of(built, {"out": [], "n": 0}, use_async=use_async)["out"])

        tape = agree(program, server, "agent", "helper")
        assert (asked_of(server), asked_of(server, "helper")) == (2, 2)
    # LangGraph starts a task for a node that is a graph by itself.
    around = "/~Pregel.ainvoke.0" if use_async else ""
    assert tape.scopes(NodeType.PROMPT) == [
        f"{around}/outer.0/ask@1[2].0/helper.0/model@1.0",
        f"{around}/outer.0/ask@1[3].0/helper.0/model@1.0",
        f"{around}/outer.0/sub@1[0].0{around}/inner.0/think@1.0",
        f"{around}/outer.0/sub@1[1].0{around}/inner.0/think@1.0",
    ]


def reads_then_text(conversation: Conversation) -> Reply:
    last = conversation.messages[-1]
    if last.role == "user" and conversation.tools:
        name = conversation.tools[0]
        if name == "ask_helper":
            return Reply(tool_calls=(ToolCall(name, {"question": "q"}), ToolCall(name, {"question": "q"})))
        return Reply(tool_calls=(ToolCall(name, {"order_id": "order-17"}),))
    return Reply(text=f"done: {last.text}")


@both
def test_an_agent_in_a_tool_is_entered_again_and_its_own_calls_are_answered(use_async: bool) -> None:
    with ModelServer(reads_then_text, random_ids=True) as server:

        def program() -> str:
            helper = create_agent(model_of(server, "helper"), [check_stock], name="helper")
            state = {"messages": [HumanMessage("help")]}

            @tool
            @recorded_tool(scope=True)
            def ask_helper(question: str) -> str:
                """Ask the helper."""
                return str(helper.invoke(state)["messages"][-1].content)

            @tool("ask_helper")
            @recorded_tool(scope=True)
            async def ask_helper_async(question: str) -> str:
                """Ask the helper."""
                return str((await helper.ainvoke(state))["messages"][-1].content)

            agent = create_agent(model_of(server), [ask_helper_async if use_async else ask_helper])
            return str(one_of(agent, {"messages": [HumanMessage("go")]}, use_async=use_async)["messages"][-1].content)

        whole = agree(program, server, "agent", "helper")
        assert (asked_of(server), asked_of(server, "helper")) == (2, 4)
        for killed_after in range(3, len(whole.lines), 4):
            RAN.clear()
            before = asked_of(server) + asked_of(server, "helper")
            tape = Tape()
            with suppress(Killed, AttributeError), tape.life(killed_after):
                program()
            prompts = sum(line.type == NodeType.PROMPT for line in tape.open_calls())
            with tape.life():
                assert program() == "done: done: order-17: 3 left"
            # What was answered is not asked again; what was asked when it was killed, at most once more.
            asked = asked_of(server) + asked_of(server, "helper") - before
            assert asked <= 6 + prompts


@both
def test_parallel_nodes_are_told_apart_whichever_is_first(use_async: bool) -> None:
    with ModelServer(plain_script, random_ids=True) as server:
        model = model_of(server)
        graph = StateGraph(State)

        def node(state: State) -> Any:
            return {"out": [str(model.invoke("same words").content), look_up_order.invoke({"order_id": "o"})]}

        for name in ("z", "a", "m"):
            graph.add_node(name, node)
            graph.add_edge(graphs.START, name)
        built = graph.compile()

        def program() -> list[str]:
            return cast("list[str]", one_of(built, {"out": [], "n": 0}, use_async=use_async)["out"])

        tape = agree(program, server, "agent")
    around = "/~Pregel.ainvoke.0" if use_async else ""
    assert tape.scopes(NodeType.PROMPT) == [f"{around}/LangGraph.0/{name}@1.0" for name in "amz"]


def shipping(saver: InMemorySaver, *, killed_in: str = "") -> Any:
    """Return a graph that ships two parcels, one a step, and keeps its state in a saver."""

    def ship_one(parcel: str) -> Callable[[State], Any]:
        def node(state: State) -> Any:
            del state
            shipped = ship.invoke({"parcel": parcel})
            if parcel == killed_in:
                raise Killed
            return {"out": [shipped]}

        return node

    graph = StateGraph(State)
    graph.add_sequence([("first", ship_one("a")), ("second", ship_one("b"))])
    graph.add_edge(graphs.START, "first")
    return graph.compile(checkpointer=saver)


@both
@pytest.mark.parametrize("killed_in", ["", "a", "b"])
def test_a_graph_whose_saver_went_on_without_the_record_starts_nothing(use_async: bool, killed_in: str) -> None:
    saver, tape = InMemorySaver(), Tape()

    def live(thread: str, killed: str) -> list[str]:
        config = {"configurable": {"thread_id": thread}, "durability": "sync"}
        graph = shipping(saver, killed_in=killed)
        value: dict[str, Any] = {"out": [], "n": 0}
        found = asyncio.run(graph.ainvoke(value, config)) if use_async else graph.invoke(value, config)
        return list(found["out"])

    with suppress(Killed), tape.life():
        live("outlives the life", killed_in)
    done = RAN.copy()
    with pytest.raises(Divergence, match="where its saver stands"), tape.life():
        live("outlives the life", "")
    assert done == RAN
    with tape.life():
        assert live("of this life", "") == ["a is shipped as 1", "b is shipped as 2"]
    assert (RAN["ship a"], RAN["ship b"]) == (1, 1)


@ls.step
def shorten(messages: list[Any]) -> str:
    """Depend on messages whose ids LangGraph draws."""
    RAN["shorten"] += 1
    return " ".join(str(message.content) for message in messages)


def test_ids_that_langgraph_draws_tell_no_call_of_a_decorated_function_from_another() -> None:
    def node(state: Chat) -> Any:
        return {"messages": [("ai", shorten(state["messages"]))]}

    graph = StateGraph(Chat)
    graph.add_node("node", node)
    graph.add_edge(graphs.START, "node")
    app = graph.compile()
    tape = Tape()
    seen: list[str] = []
    for _ in range(2):
        with tape.life():
            state = app.invoke({"messages": [("user", "a long story"), ("user", "and its end")]})
            seen.append(state["messages"][0].id)
            assert state["messages"][-1].content == "a long story and its end"
    assert RAN["shorten"] == 1
    assert seen[0] != seen[1]

"""LivespanSaver under real graphs: interrupts, time travel, forks, subgraphs, delta channels, a run around it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph  # pyright: ignore[reportMissingTypeStubs]  # no py.typed in the folder
from langgraph.types import Command, Send, interrupt
from tests.livespan_home import LiveHome

import livespan.instrumentation as ls
from livespan.instrumentation import LivespanSaver
from livespan.proto import attributes as names

Invoke = Callable[..., Any]
both = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


class Notes(TypedDict):
    notes: Annotated[list[str], operator.add]


def config_of(thread: str, **more: str) -> Any:
    return {"configurable": {"thread_id": thread, **more}}


def approving_graph(saver: Any, asked: list[str] | None = None) -> Any:
    """Return a graph that plans, asks a person, and acts."""

    def plan(state: Notes) -> Any:
        return {"notes": [f"plan {len(state['notes'])}"]}

    def approve(state: Notes) -> Any:
        if asked is not None:
            asked.append("asked")
        return {"notes": [f"approved: {interrupt('go on?')}"]}

    def act(state: Notes) -> Any:
        return {"notes": ["acted"]}

    builder: Any = StateGraph(Notes)
    builder.add_node("plan", plan)
    builder.add_node("approve", approve)
    builder.add_node("act", act)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "approve")
    builder.add_edge("approve", "act")
    builder.add_edge("act", END)
    return builder.compile(checkpointer=saver)


async def run(graph: Any, use_async: bool, value: Any, config: Any, **kwargs: Any) -> Any:
    return await graph.ainvoke(value, config, **kwargs) if use_async else graph.invoke(value, config, **kwargs)


async def history_of(graph: Any, use_async: bool, config: Any) -> list[Any]:
    if use_async:
        return [each async for each in graph.aget_state_history(config)]
    return list(graph.get_state_history(config))


async def state_of(graph: Any, use_async: bool, config: Any) -> Any:
    return await graph.aget_state(config) if use_async else graph.get_state(config)


@both
async def test_a_person_answers_in_another_process_of_the_graph(shared: LiveHome, use_async: bool) -> None:
    config = config_of(f"person-{use_async}")
    first = approving_graph(LivespanSaver(home=shared.home.root))
    stopped = await run(first, use_async, {"notes": ["begin"]}, config)
    assert stopped["__interrupt__"][0].value == "go on?"
    second = approving_graph(LivespanSaver(home=shared.home.root))
    state = await state_of(second, use_async, config)
    assert state.next == ("approve",)
    assert state.tasks[0].interrupts[0].value == "go on?"
    done = await run(second, use_async, Command(resume="yes"), config)
    assert done["notes"] == ["begin", "plan 1", "approved: yes", "acted"]


@both
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_time_travel_is_as_with_langgraphs_own_saver(shared: LiveHome, use_async: bool, durability: str) -> None:
    told: list[Any] = []
    for saver in (InMemorySaver(), LivespanSaver(home=shared.home.root)):
        graph = approving_graph(saver)
        config = config_of(f"travel-{use_async}-{durability}")
        await run(graph, use_async, {"notes": ["begin"]}, config, durability=durability)
        await run(graph, use_async, Command(resume="yes"), config, durability=durability)
        past = await history_of(graph, use_async, config)
        before = next(each for each in past if each.next == ("approve",))
        changed: Any = {"notes": ["told by a person"]}
        forked = (
            await graph.aupdate_state(before.config, changed)
            if use_async
            else graph.update_state(before.config, changed)
        )
        again = await run(graph, use_async, None, forked, durability=durability)
        done = await run(graph, use_async, Command(resume="no"), config, durability=durability)
        old = await state_of(graph, use_async, past[0].config)
        now = await history_of(graph, use_async, config)
        told.append(
            (
                [(each.values, each.next, each.metadata["source"], each.metadata["step"]) for each in now],
                [bool(each.parent_config) for each in now],
                again["__interrupt__"][0].value,
                done,
                old.values,
            )
        )
    assert told[1] == told[0]


@both
async def test_parallel_tasks_that_were_done_are_not_run_again(shared: LiveHome, use_async: bool) -> None:
    ran: list[int] = []
    failing = [True]

    def spread(state: Notes) -> Any:
        return [Send("work", {"notes": [str(number)]}) for number in range(4)]

    def work(state: Notes) -> Any:
        number = int(state["notes"][0])
        ran.append(number)
        if number == 3 and failing[0]:
            raise ValueError("the fourth fails")
        return {"notes": [f"done {number}"]}

    builder: Any = StateGraph(Notes)
    builder.add_node("work", work)
    builder.add_conditional_edges(START, spread, ["work"])
    config = config_of(f"parallel-{use_async}")
    graph = builder.compile(checkpointer=LivespanSaver(home=shared.home.root))
    with pytest.raises(ValueError, match="the fourth"):
        await run(graph, use_async, {"notes": []}, {**config, "max_concurrency": 1}, durability="sync")
    failing[0] = False
    graph = builder.compile(checkpointer=LivespanSaver(home=shared.home.root))
    done = await run(graph, use_async, None, {**config, "max_concurrency": 1}, durability="sync")
    assert done["notes"] == [f"done {number}" for number in range(4)]
    assert ran == [0, 1, 2, 3, 3]


@both
async def test_a_subgraph_keeps_its_own_checkpoints(shared: LiveHome, use_async: bool) -> None:
    saver = LivespanSaver(home=shared.home.root)
    inner = approving_graph(True)
    builder: Any = StateGraph(Notes)
    builder.add_node("inner", inner)
    builder.add_edge(START, "inner")
    graph = builder.compile(checkpointer=saver)
    config = config_of(f"inner-{use_async}")
    await run(graph, use_async, {"notes": ["begin"]}, config)
    state: Any = (
        await graph.aget_state(config, subgraphs=True) if use_async else graph.get_state(config, subgraphs=True)
    )
    assert state.tasks[0].state.next == ("approve",)
    done = await run(graph, use_async, Command(resume="yes"), config)
    assert done["notes"][-3:] == ["plan 1", "approved: yes", "acted"]


@both
@pytest.mark.filterwarnings("ignore")
async def test_delta_channels_come_back_whole_also_after_pruning(shared: LiveHome, use_async: bool) -> None:
    channels = pytest.importorskip("langgraph.channels")
    if not hasattr(channels, "DeltaChannel"):
        pytest.skip("this LangGraph has no DeltaChannel")

    def added(state: list[str], writes: list[list[str]]) -> list[str]:
        return [*state, *(each for write in writes for each in write)]

    functional: Any = TypedDict  # an annotation that is text could not name what is local here
    builder: Any = StateGraph(functional("Delta", {"notes": Annotated[list[str], channels.DeltaChannel(added)]}))

    def note(state: Any) -> Any:
        return {"notes": [f"note {len(state['notes'])}"]}

    builder.add_node("note", note)
    builder.add_edge(START, "note")
    config = config_of(f"delta-{use_async}")
    expected: list[str] = []
    for turn in range(5):
        graph = builder.compile(checkpointer=LivespanSaver(home=shared.home.root))
        done = await run(graph, use_async, {"notes": [f"turn {turn}"]}, config)
        expected += [f"turn {turn}", f"note {2 * turn + 1}"]
        assert done["notes"] == expected
    saver = LivespanSaver(home=shared.home.root)
    saver.prune([config["configurable"]["thread_id"]])
    state = await state_of(builder.compile(checkpointer=saver), use_async, config)
    assert state.values["notes"] == expected


@pytest.fixture
def instrumented() -> Iterator[None]:
    ls.instrument(["langgraph"])
    yield
    ls.uninstrument()


@both
@pytest.mark.usefixtures("instrumented")
async def test_in_a_run_only_the_programs_own_calls_are_recorded(shared: LiveHome, use_async: bool) -> None:
    charged: list[str] = []

    @ls.tool
    def charge(what: str) -> str:
        charged.append(what)
        return f"charged {what}"

    builder: Any = StateGraph(Notes)

    def pay(state: Notes) -> Any:
        return {"notes": [charge(state["notes"][-1])]}

    builder.add_node("pay", pay)
    builder.add_edge(START, "pay")
    told: list[list[tuple[str, str]]] = []
    for saver, name in (
        (InMemorySaver(), f"plain-{use_async}"),
        (LivespanSaver(home=shared.home.root), f"kept-{use_async}"),
    ):
        graph = builder.compile(checkpointer=saver)
        for _ in range(2):
            async with shared.run(name) as r:
                done = await run(graph, use_async, {"notes": ["a book"]}, config_of(f"{r.id}-{r.attempt}"))
            assert done["notes"] == ["a book", "charged a book"]
        history = shared.inside.history(name)
        assert history is not None
        told.append(sorted((record.name, record.text(names.SCOPE)) for record, _ in history.calls.values()))
    assert charged == ["a book"] * 2, "each second life was answered from the record"
    assert told[1] == told[0], "as with a saver that keeps nothing"

"""crewAI, recorded: crews, delegation and flows. Run by an environment that has it:
tests/matrix/requirements/crewai.txt.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from importlib import import_module
from typing import Any, Final

import pytest
from tests.instrumentation.fake_session import Killed, Tape

import livespan.instrumentation as ls
from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.errors import Divergence, InDoubt, RunStopped
from livespan.proto.node import NodeType
from livespan.replay.testing import Conversation, ModelServer, Reply, ToolCall

# It would tell its makers of each run, ask a person, and keep files in the user's home.
os.environ.update(CREWAI_DISABLE_TELEMETRY="true", CREWAI_TRACING_ENABLED="false", CREWAI_TESTING="true")
os.environ["CREWAI_STORAGE_DIR"] = tempfile.mkdtemp(prefix="crewai-")
crewai: Any = pytest.importorskip("crewai")
tools: Any = import_module("crewai.tools")
flows: Any = import_module("crewai.flow.flow")
tool: Callable[[Callable[..., Any]], Any] = tools.tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # its own
    # A life that is killed ends its threads, too, where nobody hears of it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
READS: Final = {"look_up_order": False, "check_stock": False}
CLOSING: Final = {"default_headers": {"connection": "close"}}
"""Its clients are kept, and never closed."""
RAN: Final[Counter[str]] = Counter()
KEYS: Final[list[str]] = []


@tool
def look_up_order(order_id: str) -> str:
    """Look up an order."""
    RAN["look_up_order"] += 1
    return f"{order_id}: a kettle"


@tool
def check_stock(order_id: str) -> str:
    """Check the stock."""
    RAN["check_stock"] += 1
    return f"{order_id}: 3 left"


@tool
def charge_card(cents: int) -> str:
    """Charge the card."""
    RAN["charge_card"] += 1
    KEYS.append(ls.idempotency_key())
    return f"rc-{RAN['charge_card']} for {cents}"


def script(conversation: Conversation) -> Reply:
    """Ask once for whatever tools are offered, then quote the last message."""
    asked = [call.name for message in conversation.messages for call in message.tool_calls]
    order = {"order_id": "order-17"}
    said = " ".join(message.text for message in conversation.messages)
    coworker = next((name for name in conversation.tools if "delegate" in name), "")
    if coworker and not asked:
        work = {"task": "charge it", "context": "order-17", "coworker": "Cashier"}
        return Reply(tool_calls=(ToolCall(coworker, work),))
    if "look_up_order" in conversation.tools and not asked:
        return Reply(tool_calls=(ToolCall("look_up_order", order), ToolCall("check_stock", order)))
    if "charge_card" in conversation.tools and not asked:
        amounts = (4200, 4200, 100) if "thrice" in said else (4200,)
        return Reply(tool_calls=tuple(ToolCall("charge_card", {"cents": cents}) for cents in amounts))
    if "Action Input:" in said:
        if any(message.role == "assistant" for message in conversation.messages):
            observed = said.rpartition("Observation:")[2].partition("\n")[0].strip()
            return Reply(text=f"Thought: I now know the final answer\nFinal Answer: paid: {observed}")
        return Reply(text='Thought: pay\nAction: charge_card\nAction Input: {"cents": 4200}')
    return Reply(text=f"paid: {conversation.messages[-1].text[-40:]}")


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    KEYS.clear()
    instrument(["crewai"], effects=READS)
    yield
    uninstrument()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(script, random_ids=True) as server:
        yield server


def model_of(server: ModelServer, label: str, **more: Any) -> Any:
    url = f"{server.labelled_url(label)}/v1"
    return crewai.LLM(
        model="openai/livespan-test-model", base_url=url, api_key="none", max_retries=0, **CLOSING, **more
    )


def agent_of(model: Any, role: str, given: list[Any], **more: Any) -> Any:
    return crewai.Agent(role=role, goal="Get it done.", backstory="An agent.", llm=model, tools=given, **more)


def task_of(name: str, agent: Any, description: str = "pay order-17", **more: Any) -> Any:
    return crewai.Task(name=name, description=description, expected_output="a text", agent=agent, **more)


def crew_of(*tasks: Any, **more: Any) -> Any:
    agents = [task.agent for task in tasks if task.agent is not None]
    return crewai.Crew(**{"agents": agents, "tasks": list(tasks), "memory": False, "tracing": False, **more})


def shop(server: ModelServer, label: str, description: str = "pay order-17", **more: Any) -> Any:
    """Two tasks: two reads at once, and a charge."""
    model = model_of(server, label, **({"stream": True} if more.get("stream") else {}))
    looking = task_of("look", agent_of(model, "Researcher", [look_up_order, check_stock]), "look at order-17")
    return crew_of(looking, task_of("pay", agent_of(model, "Cashier", [charge_card]), description), name="shop", **more)


def asked_of(server: ModelServer, label: str = "agent") -> int:
    return server.counts(label).requests


def use_crew(server: ModelServer, label: str) -> str:
    return str(shop(server, label).kickoff().raw)


def use_crew_async(server: ModelServer, label: str) -> str:
    return str(asyncio.run(shop(server, label).akickoff()).raw)


def use_crew_off_loop(server: ModelServer, label: str) -> str:
    return str(asyncio.run(shop(server, label).kickoff_async()).raw)


def stream_crew(server: ModelServer, label: str) -> str:
    streaming = shop(server, label, stream=True).kickoff()
    parts = [chunk.content for chunk in streaming]
    answer = str(streaming.result.raw)
    assert answer in "".join(parts)
    return answer


def use_tasks_beside(server: ModelServer, label: str) -> str:
    model = model_of(server, label)
    looking = task_of("look", agent_of(model, "Researcher", [look_up_order, check_stock]), async_execution=True)
    paying = task_of("pay", agent_of(model, "Cashier", [charge_card]), async_execution=True)
    summing = task_of("sum up", agent_of(model, "Writer", []), context=[looking, paying])
    return str(crew_of(looking, paying, summing).kickoff().tasks_output[1].raw)


def delegate(server: ModelServer, label: str) -> str:
    model = model_of(server, label)
    cashier = agent_of(model, "Cashier", [charge_card])
    boss = agent_of(model, "Boss", [], allow_delegation=True)
    return str(crew_of(task_of("manage", boss), agents=[boss, cashier]).kickoff().raw)


def call_by_text(server: ModelServer, label: str) -> str:
    completion: Any = import_module("crewai.llms.providers.openai.completion").OpenAICompletion

    class Textual(completion):  # type: ignore[misc]  # crewai is not in the environment that is checked
        def supports_function_calling(self) -> bool:
            return False

    model = Textual(model="livespan-test-model", base_url=f"{server.labelled_url(label)}/v1", api_key="none", **CLOSING)
    return str(crew_of(task_of("pay", agent_of(model, "Cashier", [charge_card]))).kickoff().raw)


class OrderFlow(flows.Flow):  # type: ignore[misc]  # as above
    """Two agents at once; what is done when both are done charges again."""

    server: Any = None
    label: str = ""

    @flows.start()  # type: ignore[untyped-decorator]  # as above
    def first(self) -> str:
        return self._pay("First")

    @flows.start()  # type: ignore[untyped-decorator]  # as above
    async def second(self) -> str:
        agent = agent_of(model_of(self.server, self.label), "Second", [charge_card])
        return str((await agent.kickoff_async("pay order-17")).raw)

    @flows.listen(flows.and_(first, second))  # type: ignore[untyped-decorator]  # as above
    def both(self) -> str:
        return self._pay("Both")

    def _pay(self, role: str) -> str:
        agent = agent_of(model_of(self.server, self.label), role, [charge_card])
        return str(agent.kickoff("pay order-17").raw)


def use_flow(server: ModelServer, label: str) -> str:
    flow = OrderFlow(suppress_flow_events=True)
    flow.server, flow.label = server, label
    return str(flow.kickoff())


ALL: Final = {"look_up_order": 1, "check_stock": 1, "charge_card": 1}
WAYS: Final[dict[Callable[[ModelServer, str], str], tuple[int, int, dict[str, int]]]] = {
    use_crew: (4, 3, ALL),
    use_crew_async: (4, 3, ALL),
    use_crew_off_loop: (4, 3, ALL),
    stream_crew: (4, 3, ALL),
    use_tasks_beside: (5, 3, ALL),
    delegate: (4, 1, {"charge_card": 1}),
    call_by_text: (2, 1, {"charge_card": 1}),
    use_flow: (6, 3, {"charge_card": 3}),
}
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def live(way: Callable[[ModelServer, str], str], server: ModelServer, label: str) -> str:
    """Play a life as a process would: what it started in threads ends with it, and so do its context variables."""
    before = set(threading.enumerate())
    try:
        return copy_context().run(way, server, label)
    finally:
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("Thread-"):
                thread.join(10)


@every_way
def test_a_second_life_is_answered_from_the_record(server: ModelServer, way: Any) -> None:
    prompts, calls, ran = WAYS[way]
    tape = Tape()
    with tape.life() as session:
        first = way(server, "agent")
        assert (session.executed, session.reused) == (prompts + calls, 0)
    lines = len(tape.lines)
    assert asked_of(server) == prompts
    assert ran == RAN
    with tape.life() as session:
        assert way(server, "agent") == first
        assert (session.executed, session.reused) == (0, prompts + calls)
    assert asked_of(server) == prompts
    assert ran == RAN
    assert [line for line in tape.lines[lines:] if line.type != NodeType.BRANCH] == []
    assert "rc-" in first


@every_way
def test_wherever_it_is_killed_the_next_life_ends_the_run_and_does_nothing_twice(server: ModelServer, way: Any) -> None:
    prompts, _, ran = WAYS[way]
    whole = Tape()
    with whole.life():
        live(way, server, "whole")
    doubts = 0
    for killed_after in range(2, len(whole.lines)):
        RAN.clear()
        label = f"killed after {killed_after}"
        tape = Tape()
        # A thread that it streams from keeps what is no Exception, and the crew's result is missing then.
        with suppress(Killed, RuntimeError), tape.life(killed_after):
            live(way, server, label)
        assert tape.dead
        open_calls = tape.open_calls()
        in_doubt = any(line.attributes.get(names.EFFECT) for line in open_calls)
        open_prompts = sum(line.type == NodeType.PROMPT for line in open_calls)
        try:
            with tape.life():
                answer = live(way, server, label)
        except (InDoubt, RunStopped):
            assert in_doubt
            doubts += 1
            assert RAN["charge_card"] <= ran["charge_card"]
            continue
        assert not in_doubt
        assert RAN["charge_card"] == ran["charge_card"]
        assert "rc-" in answer
        assert asked_of(server, label) <= prompts + open_prompts
    assert doubts >= 1 or way is use_tasks_beside  # there the place shifts


@every_way
def test_an_effect_in_doubt_is_asked_again_where_the_user_said_so(server: ModelServer, way: Any) -> None:
    tape = Tape()
    with tape.life():
        live(way, server, "agent")
    place = next(n for n, line in enumerate(tape.lines, 1) if line.name == "charge_card")
    key = tape.lines[place - 1].attributes[names.IDEMPOTENCY_KEY]
    # As if it had been killed then; where threads run beside each other, a kill does not meet the place for sure.
    del tape.lines[place:]
    with pytest.raises((InDoubt, RunStopped), match="charge_card"), tape.life():
        live(way, server, "agent")
    instrument(["crewai"], in_doubt={"charge_card": "retry"})
    KEYS.clear()
    with tape.life():
        assert "rc-" in live(way, server, "agent")
    assert key in KEYS
    assert len(KEYS) == len(set(KEYS)) <= WAYS[way][2]["charge_card"]


def test_a_probe_is_given_the_arguments_and_answers(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        use_crew(server, "whole")
    place = next(n for n, line in enumerate(tape.lines, 1) if line.name == "charge_card")
    tape = Tape()
    with pytest.raises(Killed), tape.life(place):
        use_crew(server, "agent")
    ran, seen = RAN["charge_card"], list[tuple[str, int]]()

    def probe(key: str, cents: int) -> object:
        seen.append((key[:3], cents))
        return "rc-9"

    instrument(["crewai"], in_doubt={"charge_card": probe})
    with tape.life():
        assert "rc-9" in use_crew(server, "agent")
    assert seen == [("ls-", 4200)]
    assert RAN["charge_card"] == ran


def test_a_changed_prompt_diverges_before_anything_is_called(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        shop(server, "agent").kickoff()
    asked, ran = asked_of(server), RAN.copy()
    with pytest.raises(Divergence, match=r"messages.*order-18"), tape.life():
        shop(server, "agent", "pay order-18").kickoff()
    assert (asked_of(server), RAN) == (asked, ran)


def test_a_stop_that_is_swallowed_comes_again(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        shop(server, "agent").kickoff()

    def swallow_and_go_on() -> None:
        with pytest.raises(Divergence) as first:
            shop(server, "agent", "pay order-18").kickoff()
        with pytest.raises(Divergence) as second:
            shop(server, "agent").kickoff()
        assert second.value is first.value

    with pytest.raises(RunStopped), tape.life():
        swallow_and_go_on()


def test_scopes_are_crew_task_and_agent(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        use_crew(server, "agent")
    looking, paying = "/shop.0/look.0/Researcher.0", "/shop.0/pay.0/Cashier.0"
    assert tape.scopes(NodeType.PROMPT) == [looking, looking, paying, paying]
    assert tape.scopes(NodeType.TOOL) == [looking, looking, paying]


def test_methods_of_a_flow_are_scopes_of_it_wherever_they_were_triggered(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        use_flow(server, "agent")
    assert tape.scopes(NodeType.TOOL) == [
        f"/OrderFlow.0/{method}.0/{role}.0"
        for method, role in (("both", "Both"), ("first", "First"), ("second", "Second"))
    ]


def test_tokens_are_summed_as_if_they_were_spent_now(server: ModelServer) -> None:
    tape = Tape()
    spent: list[Any] = []
    for _ in range(2):
        with tape.life():
            spent.append(shop(server, "agent").kickoff().token_usage.model_dump())
    assert spent[0] == spent[1]
    assert spent[0]["successful_requests"] > 0


def test_what_an_answer_says_of_itself_is_recorded(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        use_crew(server, "agent")
    prompt = tape.calls(NodeType.PROMPT, "ended")[0].attributes
    assert prompt[names.MODEL] == "livespan-test-model"
    assert prompt[names.PROVIDER] == "openai"
    assert prompt[names.INPUT_TOKENS] > 0
    assert prompt[names.OUTPUT_TOKENS] > 0
    assert prompt[names.FRAMEWORK] == "crewai"
    asked = [line.attributes[names.TOOL_CALL_ID] for line in tape.calls(NodeType.TOOL)[:2]]
    assert all(call_id in prompt[names.ISSUED] for call_id in asked)
    assert tape.calls(NodeType.TOOL)[0].attributes[names.TOOL_ARGUMENTS] == '{"order_id":"order-17"}'


@pytest.mark.parametrize("cache", [False, True])
def test_equal_calls_beside_each_other_are_told_apart(server: ModelServer, cache: bool) -> None:
    tape = Tape()
    answers: list[str] = []
    for _ in range(3):
        with tape.life():
            crew = shop(server, "agent", "pay order-17 thrice", cache=cache)
            answers.append(str(crew.kickoff().tasks_output[1].raw))
    assert len(set(answers)) == 1
    assert asked_of(server) == 4
    charged = [line for line in tape.calls(NodeType.TOOL) if line.name == "charge_card"]
    assert len(charged) == RAN["charge_card"]
    assert RAN["charge_card"] == 3 or cache
    # In the first life alone; which of them found anything there is a matter of timing.
    assert len(tape.calls(NodeType.MEMORY)) == (5 if cache else 0)


def test_a_tool_that_is_used_up_stays_so(server: ModelServer) -> None:
    tape = Tape()
    answers: list[str] = []
    for _ in range(2):
        with tape.life():
            once: Any = tools.tool("charge_card", max_usage_count=1)(charge_card.func)
            agent = agent_of(model_of(server, "agent"), "Cashier", [once])
            answers.append(str(crew_of(task_of("pay", agent, "pay order-17 thrice")).kickoff().raw))
    assert answers[0] == answers[1]
    assert RAN["charge_card"] == 1
    assert asked_of(server) == 2


def test_the_error_of_a_tool_is_told_again(server: ModelServer) -> None:
    @tools.tool("charge_card")  # type: ignore[untyped-decorator]  # as above
    def refuse(cents: int) -> str:
        """Refuse."""
        RAN["refuse"] += 1
        raise OSError(f"{cents} refused, number {RAN['refuse']}")

    tape = Tape()
    answers: list[str] = []
    for _ in range(2):
        with tape.life():
            agent = agent_of(model_of(server, "agent"), "Cashier", [refuse])
            answers.append(str(crew_of(task_of("pay", agent)).kickoff().raw))
    assert answers[0] == answers[1]
    assert "refused, number 1" in answers[0]
    assert RAN["refuse"] == 1
    assert asked_of(server) == 2


def test_bad_arguments_reach_no_tool_and_are_not_recorded() -> None:
    tape = Tape()
    with tape.life() as session:
        with pytest.raises(ValueError, match="validation failed"):
            charge_card.run(dollars=42)
        with pytest.raises(ValueError, match="validation failed"):
            charge_card.to_structured_tool().invoke({"dollars": 42})
        assert session.executed == 0
    assert not RAN


@pytest.mark.asyncio
async def test_a_model_and_a_tool_are_called_asynchronously(server: ModelServer) -> None:
    @tools.tool("add")  # type: ignore[untyped-decorator]  # as above
    async def add(cents: int) -> str:
        """Add."""
        RAN["add"] += 1
        await asyncio.sleep(0)
        return f"{cents} as {ls.idempotency_key()[:3]}"

    tape = Tape()
    found: list[object] = []
    for _ in range(2):
        with tape.life():
            model = model_of(server, "agent")
            found.append((await model.acall("hello"), await add.arun(cents=1)))
            found.append(
                (await model.acall("hello"), await check_stock.to_structured_tool().ainvoke({"order_id": "1"}))
            )
    assert found[:2] == found[2:]
    assert RAN == {"add": 1, "check_stock": 1}
    assert asked_of(server) == 2


def test_a_stop_in_a_thread_of_a_task_ends_the_crew(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        use_tasks_beside(server, "agent")
    place = next(n for n, line in enumerate(tape.lines, 1) if line.name == "charge_card")
    del tape.lines[place:]
    done: list[BaseException] = []

    def resume() -> None:
        try:
            with tape.life():
                use_tasks_beside(server, "agent")
        except BaseException as error:
            done.append(error)

    thread = threading.Thread(target=resume)
    thread.start()
    thread.join(30)
    assert done
    assert isinstance(done[0], (InDoubt, RunStopped))
    assert RAN["charge_card"] == 1


def test_where_the_client_below_is_hooked_too_nothing_is_recorded_twice(server: ModelServer) -> None:
    instrument(["openai"])
    tape = Tape()
    with tape.life() as session:
        first = use_crew(server, "agent")
        assert session.executed == 7
    with tape.life() as session:
        assert use_crew(server, "agent") == first
        assert session.executed == 0


def test_a_stop_comes_out_of_a_stream(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        stream_crew(server, "agent")
    with pytest.raises(Divergence), tape.life():
        list(shop(server, "agent", "pay order-18", stream=True).kickoff())
    assert asked_of(server) == 4


def test_uninstrument_puts_everything_back(server: ModelServer) -> None:
    uninstrument()
    structured: Any = import_module("crewai.tools.structured_tool").CrewStructuredTool
    replaced: list[tuple[Any, str]] = [
        (crewai.Crew, "kickoff"),
        (crewai.Crew, "akickoff"),
        (crewai.Task, "_execute_core"),
        (import_module("crewai.flow.runtime").Flow, "kickoff_async"),
        (import_module("crewai.flow.runtime").Flow, "_execute_method"),
        (tools.BaseTool, "run"),
        (structured, "invoke"),
        (crewai.BaseLLM, "call"),
    ]
    for owner, name in replaced:
        assert "livespan/instrumentation" not in owner.__dict__[name].__code__.co_filename, name
    tape = Tape()
    with tape.life() as session:
        use_crew(server, "agent")
        assert session.executed == 0

"""Google ADK's agents, recorded: answered from the record, killed after every record, nested, in parallel, stopped."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
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

agents: Any = import_module("google.adk.agents")
models: Any = import_module("google.adk.models")
runners: Any = import_module("google.adk.runners")
run_config: Any = import_module("google.adk.agents.run_config")
tools_module: Any = import_module("google.adk.tools")
types: Any = import_module("google.genai.types")

READS: Final = {"look_up_order": False, "check_stock": False}
RAN: Final[Counter[str]] = Counter()
KEYS: Final[list[str]] = []
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]
every_way = pytest.mark.parametrize("way", ["sync", "async", "stream"])
ways_and_ids = pytest.mark.parametrize(("way", "ids"), [("sync", True), ("async", False), ("stream", True)])
with_and_without_ids = pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])


def look_up_order(order_id: str) -> str:
    """Look up an order."""
    RAN["look_up_order"] += 1
    return f"{order_id}: a kettle"


async def check_stock(order_id: str) -> str:
    """Check the stock."""
    RAN["check_stock"] += 1
    return f"{order_id}: 3 left"


def charge_card(cents: int) -> dict[str, object]:
    """Charge the card."""
    RAN["charge_card"] += 1
    KEYS.append(ls.idempotency_key())
    return {"receipt": f"rc-{RAN['charge_card']}", "cents": cents}


def ship(grams: int) -> str:
    """Ship a parcel."""
    RAN[f"ship {grams}"] += 1
    KEYS.append(ls.idempotency_key())
    return f"parcel {len(KEYS)} of {grams} g"


@pytest.fixture(autouse=True)
def instrumented(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GOOGLE_API_KEY", "none")
    RAN.clear()
    KEYS.clear()
    instrument(["google_adk"], effects=READS)
    yield
    uninstrument()
    gc.collect()  # google-genai leaves connections of a loop that has ended to it


@pytest.fixture(params=[True, False], ids=["ids", "no ids"])
def server(request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    with ModelServer(random_ids=request.param) as server:
        yield server


def agent_of(
    server: ModelServer, tools: list[Any] | None = None, label: str = "agent", name: str = "clerk", **more: Any
) -> Any:
    tools = [look_up_order, check_stock, charge_card] if tools is None else tools
    model = models.Gemini(model="livespan-test-model", base_url=server.labelled_url(label))
    return agents.LlmAgent(name=name, model=model, tools=tools, **more)


def content(text: str) -> Any:
    return types.Content(role="user", parts=[types.Part(text=text)])


def events_of(agent: Any, way: str = "sync", question: Any = "pay order-17", runner: Any = None) -> list[Any]:
    """Ask an agent, in a session of its own, and return what came of it."""
    runner = runner or runners.InMemoryRunner(agent=agent, app_name="shop")
    about = {"user_id": "u", "session_id": "s"}
    message = content(question) if isinstance(question, str) else question

    async def run() -> list[Any]:
        await runner.session_service.create_session(app_name="shop", **about)
        mode = run_config.StreamingMode.SSE if way == "stream" else run_config.StreamingMode.NONE
        config = run_config.RunConfig(streaming_mode=mode)
        return [event async for event in runner.run_async(new_message=message, run_config=config, **about)]

    if way != "sync":
        return asyncio.run(run())
    asyncio.run(runner.session_service.create_session(app_name="shop", **about))
    return list(runner.run(new_message=message, **about))


def text_of(events: list[Any]) -> str:
    return "".join(part.text or "" for part in events[-1].content.parts)


def ask(agent: Any, way: str = "sync", question: str = "pay order-17") -> str:
    return text_of(events_of(agent, way, question))


def asked_of(server: ModelServer, label: str = "agent") -> int:
    return server.counts(label).requests


def once_and_again(server: ModelServer, program: Callable[[], Any], *labels: str, composite: bool = False) -> Tape:
    """Run a program, then again from the record of the first, and return the record."""
    tape = Tape()
    with tape.life() as session:
        first = program()
        executed = session.executed
    assert executed
    asked, ran, lines = [asked_of(server, label) for label in labels], RAN.copy(), len(tape.lines)
    with tape.life() as session:
        again = program()
        assert session.executed == 0
        assert session.reused == executed or composite
    assert again == first
    assert [asked_of(server, label) for label in labels] == asked
    assert ran == RAN
    assert [line for line in tape.lines[lines:] if line.type != NodeType.BRANCH] == []
    return tape


def nothing() -> int:
    return 0


def killed_everywhere(
    program: Callable[[], Any],
    whole: Tape,
    wanted: dict[str, int],
    step: int = 1,
    requests: Callable[[], int] = nothing,
) -> int:
    """Kill a program after each of its records, or each so many, let the next life end it, and return the doubts."""
    doubts = 0
    ends = [n for n, line in enumerate(whole.lines) if line.type == NodeType.BRANCH and line.scope == "/" and n]
    for killed_after in range(2, ends[0], step):
        RAN.clear()
        before = requests()
        tape = Tape()
        with suppress(Killed, RuntimeError), tape.life(killed_after):
            program()
        prompts = sum(line.type == NodeType.PROMPT for line in tape.open_calls())
        if not tape.dead:  # what ends beside each other ends in any number of records
            continue
        in_doubt = any(line.attributes.get(names.EFFECT) for line in tape.open_calls())
        try:
            with tape.life():
                program()
        except (InDoubt, RunStopped):
            assert in_doubt
            assert all(RAN[name] <= count for name, count in wanted.items())
            doubts += 1
            continue
        assert not in_doubt
        assert {name: RAN[name] for name in wanted} == wanted
        assert requests() - before <= len(whole.calls(NodeType.PROMPT)) + prompts
    return doubts


@every_way
def test_a_second_life_is_answered_from_the_record(server: ModelServer, way: str) -> None:
    def program() -> list[Any]:
        return [event.content for event in events_of(agent_of(server), way) if not has_calls(event)]

    def has_calls(event: Any) -> bool:
        # Without ids of the model's, ADK draws some of its own.
        return bool(event.get_function_calls() or event.get_function_responses())

    tape = once_and_again(server, program, "agent")
    assert asked_of(server) == 3
    assert len(tape.calls(NodeType.PROMPT)) == len(tape.calls(NodeType.TOOL)) == 3


@every_way
def test_wherever_it_is_killed_the_next_life_ends_the_run_and_does_nothing_twice(server: ModelServer, way: str) -> None:
    whole = Tape()
    with whole.life():
        ask(agent_of(server), way)

    def program() -> None:
        assert ask(agent_of(server), way) == 'order-17 is paid: {"receipt": "rc-1", "cents": 4200}'

    assert killed_everywhere(program, whole, {"charge_card": 1}, requests=lambda: asked_of(server)) == 1


def killed_in_the_charge(program: Callable[[], Any]) -> Tape:
    """Return the record of a run that was killed as its effect had started."""
    whole = Tape()
    with whole.life():
        program()
    place = next(n for n, line in enumerate(whole.lines, 1) if line.name == "charge_card")
    tape = Tape()
    with suppress(Killed, RuntimeError), tape.life(place):
        program()
    assert tape.dead
    RAN.clear()
    KEYS.clear()
    return tape


@every_way
def test_an_effect_in_doubt_is_asked_again_under_its_key_where_the_user_said_so(server: ModelServer, way: str) -> None:
    tape = killed_in_the_charge(lambda: ask(agent_of(server), way))
    asked = asked_of(server)
    with pytest.raises(InDoubt, match="charge_card"), tape.life():
        ask(agent_of(server), way)
    assert (RAN["charge_card"], asked_of(server)) == (0, asked)
    instrument(["google_adk"], in_doubt={"charge_card": "retry"})
    with tape.life():
        assert ask(agent_of(server), way).startswith("order-17 is paid")
    keys = [line.attributes[names.IDEMPOTENCY_KEY] for line in tape.calls(NodeType.TOOL) if line.name == "charge_card"]
    assert len(KEYS) == 1
    assert set(keys) == {KEYS[0]}


def test_a_probe_is_given_the_arguments_and_answers(server: ModelServer) -> None:
    tape = killed_in_the_charge(lambda: ask(agent_of(server)))
    seen: list[tuple[str, int]] = []

    def probe(key: str, cents: int) -> object:
        seen.append((key[:3], cents))
        return {"receipt": "rc-9", "cents": 4200}

    instrument(["google_adk"], in_doubt={"charge_card": probe})
    with tape.life():
        assert ask(agent_of(server)) == 'order-17 is paid: {"receipt": "rc-9", "cents": 4200}'
    assert seen == [("ls-", 4200)]
    assert RAN["charge_card"] == 0


@every_way
def test_a_changed_prompt_diverges_before_anything_is_called(server: ModelServer, way: str) -> None:
    tape = Tape()
    with tape.life():
        ask(agent_of(server), way)
    asked, ran = asked_of(server), RAN.copy()
    with pytest.raises(Divergence, match="brief"), tape.life():
        ask(agent_of(server, instruction="Be brief."), way)
    assert (asked_of(server), RAN) == (asked, ran)


def test_a_stop_that_is_swallowed_comes_again(server: ModelServer) -> None:
    tape = killed_in_the_charge(lambda: ask(agent_of(server)))

    def swallowing() -> None:
        for way in ("sync", "async"):
            with suppress(BaseException):
                ask(agent_of(server), way)

    with pytest.raises(RunStopped), tape.life():
        swallowing()
    assert RAN["charge_card"] == 0


def test_what_an_answer_says_of_itself_is_recorded() -> None:
    with ModelServer(random_ids=True) as server:
        tape = Tape()
        with tape.life():
            ask(agent_of(server))
        prompt = tape.calls(NodeType.PROMPT, "ended")[0].attributes
        assert prompt[names.MODEL] == "livespan-test-model"
        assert prompt[names.PROVIDER] == "gcp.gemini"
        assert prompt[names.FRAMEWORK] == "google_adk"
        assert prompt[names.INPUT_TOKENS] > 0
        assert prompt[names.OUTPUT_TOKENS] > 0
        asked = [line.attributes[names.TOOL_CALL_ID] for line in tape.calls(NodeType.TOOL)[:2]]
        assert all(call_id in prompt[names.ISSUED] for call_id in asked)
        assert tape.calls(NodeType.TOOL)[0].attributes[names.TOOL_ARGUMENTS] == '{"order_id":"order-17"}'
        assert set(tape.scopes(NodeType.PROMPT) + tape.scopes(NodeType.TOOL)) == {"/shop.0/clerk.0"}


def parcels(*weights: int) -> Callable[[Conversation], Reply]:
    def script(conversation: Conversation) -> Reply:
        if any(message.role == "tool" for message in conversation.messages):
            return Reply(" / ".join(message.text for message in conversation.messages if message.role == "tool"))
        return Reply(tool_calls=tuple(ToolCall("ship", {"grams": grams}) for grams in weights))

    return script


@ways_and_ids
def test_three_effects_of_one_answer_each_run_once_wherever_the_run_is_killed(way: str, ids: bool) -> None:
    with ModelServer(parcels(10, 20, 20), random_ids=ids) as server:

        def program() -> str:
            return ask(agent_of(server, [ship]), way)

        whole = once_and_again(server, program)
        assert len(set(KEYS)) == 3
        assert killed_everywhere(program, whole, {"ship 10": 1, "ship 20": 2}) >= 1


class Declined(Exception):
    pass


def test_a_tools_error_comes_back_as_itself() -> None:
    def ship(grams: int) -> str:
        """Ship a parcel."""
        RAN["ship"] += 1
        raise Declined(grams)

    def explain(tool: Any, args: Any, tool_context: Any, error: Exception) -> dict[str, str]:
        del tool, args, tool_context
        return {"result": f"{type(error).__name__} {error.args}"}

    with ModelServer(parcels(10), random_ids=True) as server:

        def told() -> str:
            return ask(agent_of(server, [ship], on_tool_error_callback=explain))

        tape = once_and_again(server, told, "agent")
        assert [line.failed for line in tape.calls(NodeType.TOOL, "ended")] == [True]
        assert RAN["ship"] == 1
        RAN.clear()
        ended = Tape()
        with pytest.raises(Declined), ended.life():
            ask(agent_of(server, [ship]))
        with pytest.raises(InDoubt), ended.life():
            ask(agent_of(server, [ship]))
        assert RAN["ship"] == 1


def test_arguments_that_cannot_be_read_are_no_call() -> None:
    def script(conversation: Conversation) -> Reply:
        if any(message.role == "tool" for message in conversation.messages):
            return Reply(conversation.messages[-1].text)
        return Reply(tool_calls=(ToolCall("ship", {}),))

    with ModelServer(script, random_ids=True) as server:
        tape = once_and_again(server, lambda: ask(agent_of(server, [ship])), "agent")
        assert tape.calls(NodeType.TOOL) == []


def test_what_a_tool_does_to_its_context_is_done_again() -> None:
    def ship(grams: int, tool_context: Any) -> str:
        """Ship a parcel."""
        RAN["ship"] += 1
        tool_context.state["shipped"] = [grams]
        tool_context.actions.skip_summarization = False
        return "shipped"

    ship.__annotations__["tool_context"] = tools_module.ToolContext
    with ModelServer(parcels(10), random_ids=True) as server:

        def program() -> Any:
            runner = runners.InMemoryRunner(agent=agent_of(server, [ship], instruction="{shipped?}"), app_name="shop")
            events_of(None, "async", "ship", runner)
            about = {"app_name": "shop", "user_id": "u", "session_id": "s"}
            return asyncio.run(runner.session_service.get_session(**about)).state["shipped"]

        once_and_again(server, program, "agent")
        assert RAN["ship"] == 1


def test_a_tool_that_needs_approval_is_no_call_until_it_has_it() -> None:
    with ModelServer(parcels(10), random_ids=True) as server:

        def program() -> str:
            tool = tools_module.FunctionTool(ship, require_confirmation=True)
            runner = runners.InMemoryRunner(agent=agent_of(server, [tool]), app_name="shop")
            events = events_of(None, "async", "ship", runner)
            asked = [call for event in events for call in event.get_function_calls() if call.name.startswith("adk_")]
            assert len(asked) == 1
            response = types.FunctionResponse(id=asked[0].id, name=asked[0].name, response={"confirmed": True})
            message = types.Content(role="user", parts=[types.Part(function_response=response)])

            async def approve() -> list[Any]:
                about = {"user_id": "u", "session_id": "s", "new_message": message}
                return [event async for event in runner.run_async(**about)]

            return text_of(asyncio.run(approve()))

        tape = once_and_again(server, program, "agent")
        assert len(tape.calls(NodeType.TOOL)) == 1
        assert RAN["ship 10"] == 1


def nested_script(conversation: Conversation) -> Reply:
    results = [message.text for message in conversation.turn() if message.role == "tool"]
    if results:
        return Reply("done: " + " / ".join(results))
    if "helper" in conversation.tools:
        return Reply(tool_calls=tuple(ToolCall("helper", {"request": f"ship {grams}"}) for grams in (10, 20)))
    return Reply(tool_calls=(ToolCall("ship", {"grams": int(conversation.turn()[0].text.split()[-1])}),))


@ways_and_ids
def test_an_agent_as_a_tool_is_a_scope(way: str, ids: bool) -> None:
    with ModelServer(nested_script, random_ids=ids) as server:

        def program() -> str:
            helper = tools_module.AgentTool(agent_of(server, [ship], "inner", "helper"))
            return ask(agent_of(server, [helper], "outer", "boss"), way)

        whole = once_and_again(server, program, "inner", "outer")
        assert all("/helper.0" in scope for scope in whole.scopes(NodeType.TOOL))
        killed_everywhere(program, whole, {"ship 10": 1, "ship 20": 1}, 5)


@with_and_without_ids
def test_a_tool_that_runs_an_agent_is_declared_a_scope_by_hand(ids: bool) -> None:
    with ModelServer(nested_script, random_ids=ids) as server:

        @ls.tool(scope=True)
        async def helper(request: str) -> str:
            """Have it shipped."""
            runner = runners.InMemoryRunner(agent=agent_of(server, [ship], "inner", "inner"), app_name="shop")
            about = {"user_id": "u", "session_id": "s"}
            await runner.session_service.create_session(app_name="shop", **about)
            return text_of([event async for event in runner.run_async(new_message=content(request), **about)])

        def program() -> str:
            return ask(agent_of(server, [helper], "outer", "boss"))

        whole = once_and_again(server, program, "inner", "outer", composite=True)
        killed_everywhere(program, whole, {"ship 10": 1, "ship 20": 1}, 5)


@ways_and_ids
def test_a_transfer_is_made_again_in_every_life(way: str, ids: bool) -> None:
    def script(conversation: Conversation) -> Reply:
        if "ship" in conversation.tools:
            shipped = [message.text for message in conversation.messages if message.text.startswith("parcel")]
            return Reply(f"done: {shipped}") if shipped else Reply(tool_calls=(ToolCall("ship", {"grams": 10}),))
        return Reply(tool_calls=(ToolCall("transfer_to_agent", {"agent_name": "packer"}),))

    with ModelServer(script, random_ids=ids) as server:

        def program() -> str:
            packer = agent_of(server, [ship], "packer", "packer", description="Ships.")
            return ask(agent_of(server, [], "seller", "seller", sub_agents=[packer]), way)

        whole = once_and_again(server, program, "packer", "seller")
        assert len(whole.calls(NodeType.TOOL)) == 1
        assert killed_everywhere(program, whole, {"ship 10": 1}) == 1


def once(conversation: Conversation) -> Reply:
    turn = conversation.turn()
    if "ship" in conversation.tools and not any(message.text.startswith("parcel") for message in turn):
        return Reply(tool_calls=(ToolCall("ship", {"grams": 10}),))
    return Reply(f"read {len(conversation.messages)} messages")


@ways_and_ids
def test_agents_in_parallel_and_one_after_the_other_are_scopes(way: str, ids: bool) -> None:
    with ModelServer(once, random_ids=ids) as server:

        def program() -> str:
            beside = [agent_of(server, [ship], name, name) for name in ("left", "right")]
            both = agents.ParallelAgent(name="both", sub_agents=beside)
            last = agent_of(server, [], "last", "last")
            return ask(agents.SequentialAgent(name="all", sub_agents=[both, last]), way)

        whole = once_and_again(server, program, "left", "right", "last")
        killed_everywhere(program, whole, {"ship 10": 2}, 4)


def test_the_nodes_of_a_workflow_are_scopes_whatever_task_they_run_in() -> None:
    workflow: Any = import_module("google.adk.workflow")

    async def weigh(node_input: str) -> str:
        RAN["weighed"] += 1
        with ls.branch("scales"):
            return f"{node_input} {ls.random()}"

    with ModelServer(once, random_ids=True) as server:

        def program(slow: str = "") -> list[str]:
            async def wait(callback_context: Any) -> None:
                if callback_context.agent_name == slow:
                    await asyncio.sleep(0.2)

            sides = [agent_of(server, [ship], name, name, before_agent_callback=wait) for name in ("left", "right")]
            joined = workflow.JoinNode(name="joined")
            edges = [(workflow.START, weigh, tuple(sides), joined)]
            events = events_of(workflow.Workflow(name="flow", edges=edges), "async")
            return sorted(str(event.output) for event in events if event.output is not None)

        tape = Tape()
        with tape.life():
            first = program("left")
        with tape.life() as session:
            assert program("right") == first
            assert session.executed == 0
        assert RAN["ship 10"] == 2
        assert {scope.partition("/flow.0/")[2] for scope in tape.scopes(NodeType.TOOL)} == {"left.0", "right.0"}


def test_the_order_in_which_parallel_agents_end_is_no_divergence() -> None:
    with ModelServer(once, random_ids=True) as server:

        def program(slow: str) -> None:
            async def wait(callback_context: Any) -> None:
                if callback_context.agent_name == slow:
                    await asyncio.sleep(0.2)

            beside = [agent_of(server, [], name, name, before_agent_callback=wait) for name in ("left", "right")]
            both = agents.ParallelAgent(name="both", sub_agents=beside)
            last = agent_of(server, [], "last", "last")
            ask(agents.SequentialAgent(name="all", sub_agents=[both, last]), "async")

        tape = Tape()
        with tape.life():
            program("left")
        with tape.life() as session:
            program("right")
            assert session.executed == 0


def test_the_rounds_of_a_loop_are_told_apart() -> None:
    def script(conversation: Conversation) -> Reply:
        shipped = sum(message.text.startswith("parcel") for message in conversation.messages)
        if shipped >= 2:
            return Reply(tool_calls=(ToolCall("exit_loop", {}),))
        if conversation.messages[-1].text.startswith("parcel"):
            return Reply("once more")
        return Reply(tool_calls=(ToolCall("ship", {"grams": 10}),))

    exit_loop: Any = import_module("google.adk.tools.exit_loop_tool").exit_loop
    with ModelServer(script, random_ids=True) as server:

        def program() -> int:
            inner = agent_of(server, [ship, exit_loop])
            return len(events_of(agents.LoopAgent(name="loop", sub_agents=[inner], max_iterations=5)))

        whole = once_and_again(server, program, "agent")
        assert len(whole.calls(NodeType.TOOL)) == 2
        assert killed_everywhere(program, whole, {"ship 10": 2}) == 2


def test_a_stream_that_its_reader_leaves_is_asked_again(server: ModelServer) -> None:
    async def leave() -> None:
        runner = runners.InMemoryRunner(agent=agent_of(server, []), app_name="shop")
        await runner.session_service.create_session(app_name="shop", user_id="u", session_id="s")
        config = run_config.RunConfig(streaming_mode=run_config.StreamingMode.SSE)
        events = runner.run_async(user_id="u", session_id="s", new_message=content("hello " * 9000), run_config=config)
        async for event in events:
            assert event.partial
            break
        await events.aclose()

    tape = Tape()
    with tape.life():
        asyncio.run(leave())
    assert [line.attributes.get(names.CANCELLED) for line in tape.calls(NodeType.PROMPT, "ended")] == [True]
    with tape.life() as session:
        asyncio.run(leave())
        assert session.executed == 1
    assert asked_of(server) == 2


def test_a_stream_comes_from_the_record_as_a_stream(server: ModelServer) -> None:
    def program() -> list[tuple[bool, str]]:
        events = events_of(agent_of(server, []), "stream", "hello, are you there? I have a question")
        return [(bool(event.partial), "".join(part.text or "" for part in event.content.parts)) for event in events]

    once_and_again(server, program, "agent")
    assert len(program()) > 3


def test_two_runs_of_one_agent_in_one_life_are_told_apart(server: ModelServer) -> None:
    def program() -> list[str]:
        agent = agent_of(server)
        return [ask(agent), ask(agent)]

    tape = once_and_again(server, program, "agent")
    assert RAN["charge_card"] == 2
    assert len(set(tape.scopes(NodeType.PROMPT))) == 2


def test_uninstrument_puts_everything_back(server: ModelServer) -> None:
    base_tool: Any = import_module("google.adk.tools.base_tool").BaseTool
    base_agent: Any = import_module("google.adk.agents.base_agent").BaseAgent
    places: list[tuple[Any, str]] = [
        (models.Gemini, "generate_content_async"),
        (base_tool, "run_async"),
        (tools_module.FunctionTool, "run_async"),
        (base_agent, "run_async"),
        (runners.Runner, "run_async"),
        (runners.Runner, "run"),
    ]
    hooked: list[Any] = [vars(owner)[name] for owner, name in places]
    uninstrument()
    for (owner, name), function in zip(places, hooked, strict=True):
        assert vars(owner)[name] is function.__wrapped__
    tape = Tape()
    with tape.life() as session:
        ask(agent_of(server))
        assert session.executed == 0

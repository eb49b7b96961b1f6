"""Strands' agents, recorded: answered from the record, killed after every record, nested, in parallel, stopped."""

from __future__ import annotations

import asyncio
import threading
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

strands: Any = import_module("strands")
openai: Any = import_module("strands.models.openai")
multiagent: Any = import_module("strands.multiagent")
executors: Any = import_module("strands.tools.executors")

tool: Callable[[Callable[..., Any]], Any] = strands.tool
tool_named_ship: Callable[[Callable[..., Any]], Any] = strands.tool(name="ship", context=True)

READS: Final = {"look_up_order": False, "check_stock": False}
RAN: Final[Counter[str]] = Counter()
KEYS: Final[list[str]] = []
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]
every_way = pytest.mark.parametrize("way", ["sync", "async", "stream"])


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
def charge_card(cents: int) -> dict[str, object]:
    """Charge the card."""
    RAN["charge_card"] += 1
    KEYS.append(ls.idempotency_key())
    assert threading.current_thread() is not threading.main_thread()
    return {"receipt": f"rc-{RAN['charge_card']}", "cents": cents}


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    KEYS.clear()
    instrument(["strands"], effects=READS)
    yield
    uninstrument()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(random_ids=True) as server:
        yield server


def model_of(server: ModelServer, label: str = "agent", **params: Any) -> Any:
    address = f"{server.labelled_url(label)}/v1"
    client = {"base_url": address, "api_key": "none", "max_retries": 0}
    return openai.OpenAIModel(client_args=client, model_id="livespan-test-model", params=params)


def agent_of(server: ModelServer, tools: list[Any] | None = None, label: str = "agent", **more: Any) -> Any:
    tools = [look_up_order, check_stock, charge_card] if tools is None else tools
    return strands.Agent(model_of(server, label), tools=tools, callback_handler=None, retry_strategy=None, **more)


def ask(agent: Any, way: str = "sync", question: str = "pay order-17") -> str:
    if way == "sync":
        return str(agent(question)).strip()
    if way == "async":
        return str(asyncio.run(agent.invoke_async(question))).strip()

    async def stream() -> str:
        parts = [event async for event in agent.stream_async(question)]
        text = "".join(part["data"] for part in parts if "data" in part)
        assert text.strip() == str(parts[-1]["result"]).strip()
        return text.strip()

    return asyncio.run(stream())


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


@every_way
def test_a_second_life_is_answered_from_the_record(server: ModelServer, way: str) -> None:
    messages: list[Any] = []

    def program() -> str:
        agent = agent_of(server)
        text = ask(agent, way)
        messages.append([{"role": m["role"], "content": m["content"]} for m in agent.messages])
        return text

    tape = once_and_again(server, program, "agent")
    assert messages[0] == messages[1]
    assert asked_of(server) == 3
    assert len(tape.calls(NodeType.PROMPT)) == len(tape.calls(NodeType.TOOL)) == 3


@every_way
def test_wherever_it_is_killed_the_next_life_ends_the_run_and_does_nothing_twice(server: ModelServer, way: str) -> None:
    whole = Tape()
    with whole.life():
        ask(agent_of(server), way)
    doubts = 0
    for killed_after in range(2, len(whole.lines)):
        RAN.clear()
        label = f"{way}-{killed_after}"
        tape = Tape()
        with suppress(Killed), tape.life(killed_after):
            ask(agent_of(server, label=label), way)
        assert tape.dead
        open_calls = tape.open_calls()
        in_doubt = any(line.attributes.get(names.EFFECT) for line in open_calls)
        prompts = sum(line.type == NodeType.PROMPT for line in open_calls)
        try:
            with tape.life():
                text = ask(agent_of(server, label=label), way)
        except (InDoubt, RunStopped):
            assert in_doubt
            doubts += 1
            continue
        assert not in_doubt
        assert RAN["charge_card"] == 1
        assert text == 'order-17 is paid: {"receipt": "rc-1", "cents": 4200}'
        assert asked_of(server, label) <= 3 + prompts
    assert doubts == 1


def killed_in_the_charge(program: Callable[[], Any]) -> Tape:
    """Return the record of a run that was killed as its effect had started."""
    whole = Tape()
    with whole.life():
        program()
    place = next(n for n, line in enumerate(whole.lines, 1) if line.name == "charge_card")
    tape = Tape()
    with suppress(Killed), tape.life(place):
        program()
    assert tape.dead
    RAN.clear()
    KEYS.clear()
    return tape


@every_way
def test_an_effect_in_doubt_is_asked_again_under_its_key_where_the_user_said_so(server: ModelServer, way: str) -> None:
    tape = killed_in_the_charge(lambda: ask(agent_of(server), way))
    with pytest.raises(InDoubt, match="charge_card"), tape.life():
        ask(agent_of(server), way)
    instrument(["strands"], in_doubt={"charge_card": "retry"})
    with tape.life():
        assert ask(agent_of(server), way).startswith("order-17 is paid")
    calls = [line.attributes.get(names.IDEMPOTENCY_KEY) for line in tape.calls(NodeType.TOOL) if line.name in KEYS]
    assert all(key == KEYS[0] for key in calls)
    assert len(KEYS) == 1
    assert KEYS[0].startswith("ls-")


def test_a_probe_is_given_the_arguments_and_answers(server: ModelServer) -> None:
    tape = killed_in_the_charge(lambda: ask(agent_of(server)))
    seen: list[tuple[str, int]] = []

    def probe(key: str, cents: int) -> object:
        seen.append((key[:3], cents))
        return {"receipt": "rc-9", "cents": 4200}

    instrument(["strands"], in_doubt={"charge_card": probe})
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
        ask(agent_of(server, system_prompt="Be brief."), way)
    assert (asked_of(server), RAN) == (asked, ran)


def test_what_an_answer_says_of_itself_is_recorded(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        ask(agent_of(server, name="shop"))
    prompt = tape.calls(NodeType.PROMPT, "ended")[0].attributes
    assert prompt[names.MODEL] == "livespan-test-model"
    assert prompt[names.PROVIDER] == "openai"
    assert prompt[names.FRAMEWORK] == "strands"
    assert prompt[names.INPUT_TOKENS] > 0
    assert prompt[names.OUTPUT_TOKENS] > 0
    asked = [line.attributes[names.TOOL_CALL_ID] for line in tape.calls(NodeType.TOOL)[:2]]
    assert all(call_id in prompt[names.ISSUED] for call_id in asked)
    assert tape.calls(NodeType.TOOL)[0].attributes[names.TOOL_ARGUMENTS] == '{"order_id":"order-17"}'
    assert set(tape.scopes(NodeType.PROMPT) + tape.scopes(NodeType.TOOL)) == {"/shop.0"}


def parcels(*weights: int) -> Callable[[Conversation], Reply]:
    def script(conversation: Conversation) -> Reply:
        if any(message.role == "tool" for message in conversation.messages):
            return Reply(" / ".join(message.text for message in conversation.messages if message.role == "tool"))
        return Reply(tool_calls=tuple(ToolCall("ship", {"grams": grams}) for grams in weights))

    return script


@tool
def ship(grams: int) -> str:
    """Ship a parcel."""
    RAN[f"ship {grams}"] += 1
    KEYS.append(ls.idempotency_key())
    return f"parcel {len(KEYS)} of {grams} g"


@pytest.mark.parametrize("executor", ["ConcurrentToolExecutor", "SequentialToolExecutor"])
@every_way
def test_three_effects_of_one_answer_each_run_once_wherever_the_run_is_killed(way: str, executor: str) -> None:
    with ModelServer(parcels(10, 20, 20), random_ids=True) as server:

        def program() -> str:
            return ask(agent_of(server, [ship], tool_executor=getattr(executors, executor)()), way)

        whole = once_and_again(server, program)
        assert len(set(KEYS)) == 3
        doubts = 0
        for killed_after in range(2, len(whole.lines)):
            RAN.clear()
            tape = Tape()
            with suppress(Killed), tape.life(killed_after):
                program()
            in_doubt = any(line.attributes.get(names.EFFECT) for line in tape.open_calls())
            try:
                with tape.life():
                    text = program()
            except (InDoubt, RunStopped):
                assert in_doubt
                assert max(RAN.values(), default=0) <= 2
                doubts += 1
                continue
            assert not in_doubt
            assert (RAN["ship 10"], RAN["ship 20"]) == (1, 2)
            assert len(set(text.split(" / "))) == 3
        assert doubts >= 1


def test_a_stop_that_the_executor_lost_comes_at_the_agents_end(server: ModelServer) -> None:
    hooks: Any = import_module("strands.hooks")

    def end_here(event: Any) -> None:
        if "toolUse" in str(event.message) or RAN["check_stock"] or asked_of(server):
            event.end_turn = "that is all"

    def script(conversation: Conversation) -> Reply:
        del conversation
        return Reply(tool_calls=(ToolCall("charge_card", {"cents": 1}),))

    with ModelServer(script) as server:

        def program() -> str:
            agent = agent_of(server, [charge_card])
            agent.hooks.add_callback(hooks.AfterToolsEvent, end_here)
            return ask(agent)

        tape = killed_in_the_charge(program)
        with pytest.raises(InDoubt), tape.life():
            program()
        assert RAN["charge_card"] == 0

        def swallowing() -> None:
            for _ in range(2):
                with suppress(BaseException):
                    program()

        with pytest.raises(RunStopped), tape.life():
            swallowing()
        assert RAN["charge_card"] == 0
        assert asked_of(server) == 2


class Declined(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"declined with {code}")
        self.code = code


@pytest.mark.parametrize("kind", ["value", "own", "local", "raw"])
def test_a_tools_error_is_told_to_the_model_in_the_same_words(kind: str) -> None:
    class Local(Exception):
        pass

    def fail() -> None:
        RAN["ship 10"] += 1
        raise {"value": ValueError("no scales"), "own": Declined(7), "local": Local("no one"), "raw": KeyError("x")}[
            kind
        ]

    @tool_named_ship
    def failing(grams: int) -> str:
        """Ship a parcel."""
        del grams
        fail()
        return ""

    class Raw(import_module("strands.types.tools").AgentTool):  # type: ignore[misc]
        tool_name = "ship"
        tool_type = "raw"
        tool_spec: Any = {  # noqa: RUF012
            "name": "ship",
            "description": "Ship.",
            "inputSchema": {"json": {"type": "object", "properties": {"grams": {"type": "integer"}}}},
        }

        async def stream(self, tool_use: Any, invocation_state: Any, **kwargs: Any) -> Any:
            del tool_use, invocation_state, kwargs
            yield "on my way"
            fail()

    chosen: Any = Raw() if kind == "raw" else failing
    errors: list[Any] = []
    hooks: Any = import_module("strands.hooks")
    with ModelServer(parcels(10), random_ids=True) as server:

        def program() -> str:
            agent = agent_of(server, [chosen])

            def keep(event: Any) -> None:
                errors.append(event.exception)

            agent.hooks.add_callback(hooks.AfterToolCallEvent, keep)
            return ask(agent)

        tape = once_and_again(server, program, "agent")
        ended = tape.calls(NodeType.TOOL, "ended")
        assert [line.failed for line in ended] == [True]
        assert RAN["ship 10"] == 1
        assert str(errors[0]) in str(errors[1])
        if kind != "local":
            assert type(errors[0]) is type(errors[1])
            assert errors[0].args == errors[1].args
        assert "livespan_result" not in str([error.__dict__ for error in errors])


def test_arguments_that_cannot_be_read_are_no_call() -> None:
    def script(conversation: Conversation) -> Reply:
        if any(message.role == "tool" for message in conversation.messages):
            return Reply(conversation.messages[-1].text)
        return Reply(tool_calls=(ToolCall("ship", {"grams": "many"}), ToolCall("unheard_of", {})))

    with ModelServer(script, random_ids=True) as server:
        tape = once_and_again(server, lambda: ask(agent_of(server, [ship])), "agent")
        assert tape.calls(NodeType.TOOL) == []


def test_a_tool_that_is_recorded_by_itself_is_entered_again(server: ModelServer) -> None:
    @tool
    @ls.tool
    def charge_card(cents: int) -> dict[str, object]:
        """Charge the card."""
        RAN["charge_card"] += 1
        return {"receipt": f"rc-{RAN['charge_card']}", "cents": cents}

    def program() -> str:
        return ask(agent_of(server, [look_up_order, check_stock, charge_card]))

    tape = once_and_again(server, program, "agent", composite=True)
    charges = [line for line in tape.calls(NodeType.TOOL) if line.name.endswith("charge_card")]
    assert [bool(line.attributes.get(names.EFFECT)) for line in charges] == [False, True]


def nested_script(conversation: Conversation) -> Reply:
    results = [message.text for message in conversation.turn() if message.role == "tool"]
    if results:
        return Reply("done: " + " / ".join(text.strip() for text in results))
    if "helper" in conversation.tools:
        return Reply(tool_calls=tuple(ToolCall("helper", {"input": f"ship {grams}"}) for grams in (10, 20)))
    return Reply(tool_calls=(ToolCall("ship", {"grams": int(conversation.turn()[0].text.split()[-1])}),))


@every_way
def test_an_agent_as_a_tool_is_a_scope(way: str) -> None:
    with ModelServer(nested_script, random_ids=True) as server:

        def program() -> str:
            helpers = [
                agent_of(server, [ship], "inner", name=name).as_tool(name=name, description="Ships.")
                for name in ("helper",)
            ]
            executor = executors.SequentialToolExecutor()
            return ask(agent_of(server, helpers, "outer", name="boss", tool_executor=executor), way)

        whole = once_and_again(server, program, "inner", "outer")
        assert all("/boss.0/helper." in scope for scope in whole.scopes(NodeType.TOOL))
        for killed_after in range(2, len(whole.lines), 2):
            RAN.clear()
            tape = Tape()
            with suppress(Killed), tape.life(killed_after):
                program()
            in_doubt = any(line.attributes.get(names.EFFECT) for line in tape.open_calls())
            try:
                with tape.life():
                    program()
            except (InDoubt, RunStopped):
                assert in_doubt
                continue
            assert not in_doubt
            assert (RAN["ship 10"], RAN["ship 20"]) == (1, 1)


def test_an_agent_that_was_busy_was_busy_in_every_life() -> None:
    with ModelServer(nested_script, random_ids=True) as server:

        def program() -> str:
            helper = agent_of(server, [ship], "inner", name="helper").as_tool(name="helper", description="Ships.")
            return ask(agent_of(server, [helper], "outer", name="boss"))

        whole = once_and_again(server, program, "inner", "outer")
        assert (RAN["ship 10"], RAN["ship 20"]) == (1, 0)
        outer = [n for n, line in enumerate(whole.lines, 1) if line.type == NodeType.PROMPT and line.kind == "started"]
        tape = Tape()
        with suppress(Killed), tape.life(outer[-1]):
            program()
        RAN.clear()
        with tape.life():
            assert "already processing" in program()
        assert not RAN


def test_a_tool_that_runs_an_agent_is_declared_a_scope_by_hand() -> None:
    with ModelServer(nested_script, random_ids=True) as server:

        @tool
        @ls.tool(scope=True)
        def helper(input: str) -> str:  # noqa: A002
            """Have it shipped."""
            return ask(agent_of(server, [ship], "inner", name="inner"), question=input)

        def program() -> str:
            return ask(agent_of(server, [helper], "outer", name="boss"))

        whole = once_and_again(server, program, "inner", "outer", composite=True)
        for killed_after in range(2, len(whole.lines), 2):
            RAN.clear()
            tape = Tape()
            with suppress(Killed), tape.life(killed_after):
                program()
            in_doubt = any(line.attributes.get(names.EFFECT) for line in tape.open_calls())
            try:
                with tape.life():
                    program()
            except (InDoubt, RunStopped):
                assert in_doubt
                continue
            assert not in_doubt
            assert (RAN["ship 10"], RAN["ship 20"]) == (1, 1)


def echo_script(conversation: Conversation) -> Reply:
    turn = conversation.turn()
    if "ship" in conversation.tools and not any(message.role == "tool" for message in turn):
        return Reply(tool_calls=(ToolCall("ship", {"grams": 10}),))
    return Reply(f"read {len(turn[0].text)} characters: {turn[-1].text[-20:]}")


@pytest.mark.parametrize("node_timeout", [None, 30.0])
def test_the_nodes_of_a_graph_are_scopes_whatever_task_they_run_in(node_timeout: float | None) -> None:
    with ModelServer(echo_script, random_ids=True) as server:

        def program() -> list[str]:
            builder = multiagent.GraphBuilder()
            for node in ("plan", "left", "right", "join"):
                builder.add_node(agent_of(server, [ship], node), node)
            for one, other in (("plan", "left"), ("plan", "right"), ("left", "join"), ("right", "join")):
                builder.add_edge(one, other)
            if node_timeout is not None:
                builder.set_node_timeout(node_timeout)
            result = builder.build()("go")
            return [str(result.results[node].result) for node in ("plan", "left", "right", "join")]

        whole = once_and_again(server, program, "plan", "left", "right", "join")
        scopes = {f"/default_graph.0/{node}.0/Strands Agents.0" for node in ("plan", "left", "right", "join")}
        assert {scope.replace("%20", " ") for scope in whole.scopes(NodeType.TOOL)} == scopes
        for killed_after in range(2, len(whole.lines), 3):
            RAN.clear()
            tape = Tape()
            with suppress(Killed, AssertionError, KeyError), tape.life(killed_after):
                program()
            in_doubt = any(line.attributes.get(names.EFFECT) for line in tape.open_calls())
            try:
                with tape.life():
                    program()
            except (InDoubt, RunStopped):
                assert in_doubt
                continue
            assert not in_doubt
            assert RAN["ship 10"] == 4


def test_a_graphs_edges_are_read_in_one_order() -> None:
    builder = multiagent.GraphBuilder()
    for name in "cabd":
        builder.add_node(strands.Agent(model=openai.OpenAIModel(model_id="none")), name)
    for one in "cab":
        builder.add_edge(one, "d")
    scopes: Any = import_module("livespan.instrumentation.frameworks.strands_scopes")
    edges = scopes._OrderedEdges(builder.build().edges)
    assert [edge.from_node.node_id for edge in edges] == ["a", "b", "c"]


def test_the_agents_of_a_swarm_hand_over_in_every_life() -> None:
    def script(conversation: Conversation) -> Reply:
        turn = conversation.turn()
        asked = [call.name for message in turn for call in message.tool_calls]
        if "ship" in conversation.tools and "ship" not in asked:
            return Reply(tool_calls=(ToolCall("ship", {"grams": 10}),))
        if "ship" not in conversation.tools and not asked:
            call = ToolCall("handoff_to_agent", {"agent_name": "packer", "message": "pack it"})
            return Reply(tool_calls=(call,))
        return Reply(f"it is done: {turn[-1].text}")

    with ModelServer(script, random_ids=True) as server:

        def program() -> list[str]:
            seller = agent_of(server, [], "seller", name="seller")
            packer = agent_of(server, [ship], "packer", name="packer")
            result = multiagent.Swarm([seller, packer])("sell")
            assert [node.node_id for node in result.node_history] == ["seller", "packer"]
            return [str(one.result) for one in result.results.values()]

        tape = once_and_again(server, program, "seller", "packer")
        assert tape.scopes(NodeType.TOOL) == ["/default_swarm.0/packer.0"]


def test_a_structured_answer_comes_back_as_its_class() -> None:
    from pydantic import BaseModel

    class Parcel(BaseModel):
        grams: int

    def script(conversation: Conversation) -> Reply:
        del conversation
        return Reply(tool_calls=(ToolCall("Parcel", {"grams": 12}),))

    with ModelServer(script, random_ids=True) as server:

        def program() -> Any:
            result = agent_of(server, [])("how heavy?", structured_output_model=Parcel)
            assert isinstance(result.structured_output, Parcel)
            return result.structured_output

        tape = once_and_again(server, program, "agent")
        assert tape.calls(NodeType.TOOL) == []


def test_a_tool_that_waits_for_a_person_is_not_done_and_waits_again_in_a_later_life() -> None:
    @tool_named_ship
    def asking(grams: int, tool_context: Any) -> str:
        """Ship a parcel."""
        RAN["asked"] += 1
        said = tool_context.interrupt("approval", reason={"grams": grams})
        RAN["ship"] += 1
        return f"shipped, {said}"

    with ModelServer(parcels(10), random_ids=True) as server:

        def program(approve: bool = True) -> str:
            agent = agent_of(server, [asking])
            result = agent("ship it")
            assert result.stop_reason == "interrupt"
            assert result.interrupts[0].reason == {"grams": 10}
            if not approve:
                return ""
            answers = [{"interruptResponse": {"interruptId": one.id, "response": "yes"}} for one in result.interrupts]
            return str(agent(answers)).strip()

        tape = Tape()
        with tape.life():
            program(approve=False)
        assert (RAN["asked"], RAN["ship"]) == (1, 0)
        with tape.life():
            assert program() == "shipped, yes"
        assert (RAN["asked"], RAN["ship"]) == (2, 1)
        with tape.life() as session:
            assert program() == "shipped, yes"
            assert session.executed == 0
        assert (RAN["asked"], RAN["ship"]) == (2, 1)


def test_a_tool_that_the_program_calls_by_itself_is_recorded(server: ModelServer) -> None:
    def program() -> str:
        agent = agent_of(server)
        result = agent.tool.charge_card(cents=5)
        assert agent.tool.charge_card(cents=5) != result
        return str(result["content"]) + ask(agent)

    once_and_again(server, program, "agent")
    assert RAN["charge_card"] == 3


def test_a_stream_that_its_reader_leaves_is_asked_again(server: ModelServer) -> None:
    async def leave() -> None:
        parts = agent_of(server, []).stream_async("hello")
        async for part in parts:
            if "data" in part:
                break
        await parts.aclose()

    tape = Tape()
    with tape.life():
        asyncio.run(leave())
    assert [line.attributes.get(names.CANCELLED) for line in tape.calls(NodeType.PROMPT, "ended")] == [True]
    with tape.life() as session:
        asyncio.run(leave())
        assert session.executed == 1
    assert asked_of(server) == 2


def test_a_stream_comes_from_the_record_as_a_stream(server: ModelServer) -> None:
    def program() -> tuple[list[str], str]:
        async def stream() -> tuple[list[str], str]:
            kinds: list[str] = []
            text = ""
            async for part in agent_of(server).stream_async("pay order-17"):
                kinds += [word for word in ("current_tool_use", "message", "result") if word in part]
                text += part.get("data", "")
            return list(dict.fromkeys(kinds)), text

        return asyncio.run(stream())

    tape = once_and_again(server, program, "agent")
    assert (
        sum(line.attributes[names.OUTPUT].count("contentBlockDelta") for line in tape.calls(NodeType.PROMPT, "ended"))
        == 4
    )


def test_two_runs_of_one_agent_in_one_life_are_told_apart(server: ModelServer) -> None:
    def program() -> list[str]:
        agent = agent_of(server)
        return [ask(agent), ask(agent)]

    tape = once_and_again(server, program, "agent")
    assert RAN["charge_card"] == 2
    assert len(set(tape.scopes(NodeType.PROMPT))) == 2


def test_uninstrument_puts_everything_back(server: ModelServer) -> None:
    agent_module: Any = import_module("strands.agent.agent")
    hooked: list[Any] = [
        vars(agent_module.Agent)["stream_async"],
        vars(agent_module.MiddlewareRegistry)["compose"],
        vars(openai.OpenAIModel)["stream"],
        vars(import_module("strands.multiagent.graph").Graph)["stream_async"],
    ]
    assert all(hasattr(function, "__wrapped__") for function in hooked)
    uninstrument()
    assert vars(agent_module.Agent)["stream_async"] is hooked[0].__wrapped__
    assert vars(agent_module.MiddlewareRegistry)["compose"] is hooked[1].__wrapped__
    assert vars(openai.OpenAIModel)["stream"] is hooked[2].__wrapped__
    assert vars(import_module("strands.multiagent.graph").Graph)["stream_async"] is hooked[3].__wrapped__
    tape = Tape()
    with tape.life() as session:
        ask(agent_of(server))
        assert session.executed == 0

"""smolagents, recorded: agents that name their tool calls and agents that write code. Run by an environment that has
it: tests/matrix/requirements/smolagents.txt.
"""

from __future__ import annotations

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
from livespan.replay.testing.model_server import LABEL_HEADER

smolagents: Any = pytest.importorskip("smolagents")
tool: Callable[[Callable[..., Any]], Any] = smolagents.tool

READS: Final = {"look_up_order": False, "check_stock": False}
RAN: Final[Counter[str]] = Counter()
KEYS: Final[list[str]] = []
REFUSED: Final = threading.Event()
TASK: Final = "pay order-17"


@tool
def look_up_order(order_id: str) -> str:
    """Look up an order.

    Args:
        order_id: its name.
    """
    RAN["look_up_order"] += 1
    return f"{order_id}: a kettle"


@tool
def check_stock(order_id: str) -> str:
    """Check the stock.

    Args:
        order_id: the order's name.
    """
    RAN["check_stock"] += 1
    return f"{order_id}: 3 left"


@tool
def charge_card(cents: int) -> dict[str, object]:
    """Charge the card.

    Args:
        cents: how much.
    """
    RAN["charge_card"] += 1
    KEYS.append(ls.idempotency_key())
    return {"receipt": f"rc-{RAN['charge_card']}", "cents": cents}


class CardRefused(Exception):
    """Not a class of the interpreter's."""


@tool
def refuse_card(cents: int) -> str:
    """Refuse the card.

    Args:
        cents: how much.
    """
    if cents == 1:
        REFUSED.wait(10)
    RAN["refuse_card"] += 1
    try:
        raise CardRefused(f"{cents} refused, number {RAN['refuse_card']}")
    finally:
        REFUSED.set()


WAITS: Final[list[Callable[[], object]]] = []


@tool
def take_cents(cents: int) -> str:
    """Take cents.

    Args:
        cents: how many.
    """
    for wait in WAITS:
        wait()
    RAN["take_cents"] += 1
    return f"{cents} as {ls.idempotency_key()}"


def _steps(conversation: Conversation) -> int:
    """Return how many steps an agent has made: its tool calls stand as text in what it tells the model."""
    return sum(message.text.count("Calling tools:") for message in conversation.messages if message.role == "assistant")


def _asked(conversation: Conversation) -> str:
    return " ".join(message.text for message in conversation.messages)


def _observed(conversation: Conversation) -> str:
    return conversation.messages[-1].text.split("Observation:\n")[-1]


def _final(text: str) -> Reply:
    return Reply(tool_calls=(ToolCall("final_answer", {"answer": text}),))


def shop(conversation: Conversation) -> Reply:
    """Two reads at once, one charge, an answer that quotes it."""
    step = _steps(conversation)
    if "charge_card" not in conversation.tools and conversation.tools:
        return special(conversation)
    if not conversation.tools:
        return coded(conversation)
    if step == 0:
        order = {"order_id": "order-17"}
        return Reply(tool_calls=(ToolCall("look_up_order", order), ToolCall("check_stock", order)))
    if step == 1:
        return Reply(tool_calls=(ToolCall("charge_card", {"cents": 4200}),))
    return _final(f"paid: {_observed(conversation)}")


def special(conversation: Conversation) -> Reply:
    step = _steps(conversation)
    if "refuse_card" in conversation.tools:
        errors = sum(message.text.count("Error:") for message in conversation.messages if message.role == "user")
        if errors == 0:
            return Reply(tool_calls=(ToolCall("refuse_card", {"cents": 1}), ToolCall("refuse_card", {"cents": 2})))
        return _final(f"told: {_asked(conversation).split('Error:')[-1].strip()[:120]}")
    if "seller" in conversation.tools:
        if step == 0:
            tasks = [ToolCall("seller", {"task": f"{TASK} part {part}"}) for part in (1, 2)]
            return Reply(tool_calls=tuple(tasks))
        return _final(f"done: {conversation.messages[-1].text.count('Here is the final answer')}")
    if step == 0:
        twice = ToolCall("take_cents", {"cents": 7})
        return Reply(tool_calls=(twice, twice, ToolCall("take_cents", {"cents": 8})))
    return _final(f"took: {_observed(conversation)}")


CODE: Final = """Thought: I pay.
<code>
order = look_up_order("order-17")
stock = check_stock(order_id="order-17")
print(order, stock)
</code>"""
CODE_PAY: Final = """<code>
receipts = [charge_card(cents)["receipt"] for cents in (4200, 100, 4200)]
print(receipts)
</code>"""
CODE_END: Final = """<code>
final_answer(f"{order} paid by {receipts}")
</code>"""


def coded(conversation: Conversation) -> Reply:
    step = _steps(conversation)
    if "as text" in _asked(conversation):
        if step == 0:
            return Reply(text='Action:\n{"name": "charge_card", "arguments": {"cents": 4200}}')
        return Reply(text='Action:\n{"name": "final_answer", "arguments": {"answer": "paid"}}')
    return Reply(text=(CODE, CODE_PAY, CODE_END)[min(step, 2)])


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    KEYS.clear()
    instrument(["smolagents"], effects=READS)
    yield
    uninstrument()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(shop, random_ids=True) as server:
        yield server


def model_of(server: ModelServer, label: str = "agent") -> Any:
    return smolagents.OpenAIModel(
        "livespan-test-model",
        server.base_url,
        "none",
        client_kwargs={"max_retries": 0, "default_headers": {LABEL_HEADER: label}},
    )


def order_agent(server: ModelServer, label: str = "agent", **more: Any) -> Any:
    tools = [look_up_order, check_stock, charge_card]
    return smolagents.ToolCallingAgent(tools, model_of(server, label), verbosity_level=-1, **more)


def code_agent(server: ModelServer, label: str = "agent", **more: Any) -> Any:
    tools = [look_up_order, check_stock, charge_card]
    return smolagents.CodeAgent(tools, model_of(server, label), verbosity_level=-1, **more)


def asked_of(server: ModelServer, label: str = "agent") -> int:
    return server.counts(label).requests


def use_tools(server: ModelServer, label: str, task: str = TASK) -> str:
    return str(order_agent(server, label).run(task))


def stream_tools(server: ModelServer, label: str, task: str = TASK) -> str:
    steps = list(order_agent(server, label, stream_outputs=True).run(task, stream=True))
    return str(steps[-1].output)


def use_code(server: ModelServer, label: str, task: str = TASK) -> str:
    return str(code_agent(server, label).run(task))


def use_code_in_place(server: ModelServer, label: str, task: str = TASK) -> str:
    return str(code_agent(server, label, executor_kwargs={"timeout_seconds": None}).run(task))


WAYS: Final = {
    use_tools: (3, 3, {"look_up_order": 1, "check_stock": 1, "charge_card": 1}),
    stream_tools: (3, 3, {"look_up_order": 1, "check_stock": 1, "charge_card": 1}),
    use_code: (3, 5, {"look_up_order": 1, "check_stock": 1, "charge_card": 3}),
    use_code_in_place: (3, 5, {"look_up_order": 1, "check_stock": 1, "charge_card": 3}),
}
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def take_thrice(server: ModelServer, label: str, *waits: Callable[[], object]) -> str:
    WAITS[:] = waits
    return str(smolagents.ToolCallingAgent([take_cents], model_of(server, label), verbosity_level=-1).run(TASK))


@every_way
def test_a_second_life_is_answered_from_the_record(server: ModelServer, way: Any) -> None:
    prompts, tools, ran = WAYS[way]
    tape = Tape()
    with tape.life() as session:
        first = way(server, "agent")
        assert (session.executed, session.reused) == (prompts + tools, 0)
    lines = len(tape.lines)
    assert asked_of(server) == prompts
    assert ran == RAN
    with tape.life() as session:
        assert way(server, "agent") == first
        assert (session.executed, session.reused) == (0, prompts + tools)
    assert asked_of(server) == prompts
    assert ran == RAN
    assert [line for line in tape.lines[lines:] if line.type != NodeType.BRANCH] == []
    assert "rc-1" in first


@every_way
def test_wherever_it_is_killed_the_next_life_ends_the_run_and_does_nothing_twice(server: ModelServer, way: Any) -> None:
    prompts, _, ran = WAYS[way]
    whole = Tape()
    with whole.life():
        way(server, "whole")
    doubts = 0
    for killed_after in range(2, len(whole.lines)):
        RAN.clear()
        label = f"killed after {killed_after}"
        tape = Tape()
        with suppress(Killed), tape.life(killed_after):
            way(server, label)
        assert tape.dead
        open_calls = tape.open_calls()
        in_doubt = any(line.attributes.get(names.EFFECT) for line in open_calls)
        open_prompts = sum(line.type == NodeType.PROMPT for line in open_calls)
        try:
            with tape.life():
                answer = way(server, label)
        except (InDoubt, RunStopped):
            assert in_doubt
            doubts += 1
            continue
        assert not in_doubt
        assert RAN["charge_card"] == ran["charge_card"]
        assert "rc-1" in answer
        assert asked_of(server, label) <= prompts + open_prompts
    assert doubts == ran["charge_card"]


@every_way
def test_an_effect_in_doubt_is_asked_again_where_the_user_said_so(server: ModelServer, way: Any) -> None:
    tape = Tape()
    with tape.life():
        way(server, "whole")
    place = next(n for n, line in enumerate(tape.lines, 1) if line.name == "charge_card")
    KEYS.clear()
    tape = Tape()
    with pytest.raises(Killed), tape.life(place):
        way(server, "agent")
    with pytest.raises((InDoubt, RunStopped), match="charge_card"), tape.life():
        way(server, "agent")
    instrument(["smolagents"], in_doubt={"charge_card": "retry"})
    with tape.life():
        assert "rc-" in way(server, "agent")
    begun = tape.calls(NodeType.TOOL)
    keys = [line.attributes[names.IDEMPOTENCY_KEY] for line in begun if line.name == "charge_card"]
    assert keys[0] == keys[1]
    assert keys[1:] == KEYS


def test_a_probe_is_given_the_arguments_and_answers(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        use_tools(server, "whole")
    place = next(n for n, line in enumerate(tape.lines, 1) if line.name == "charge_card")
    tape = Tape()
    with pytest.raises(Killed), tape.life(place):
        use_tools(server, "agent")
    ran, seen = RAN["charge_card"], list[tuple[str, int]]()

    def probe(key: str, cents: int) -> object:
        seen.append((key[:3], cents))
        return {"receipt": "rc-9", "cents": cents}

    instrument(["smolagents"], in_doubt={"charge_card": probe})
    with tape.life():
        assert "rc-9" in use_tools(server, "agent")
    assert seen == [("ls-", 4200)]
    assert RAN["charge_card"] == ran


@every_way
def test_a_changed_prompt_diverges_before_anything_is_called(server: ModelServer, way: Any) -> None:
    tape = Tape()
    with tape.life():
        way(server, "agent")
    asked, ran = asked_of(server), RAN.copy()
    with pytest.raises(Divergence, match=r"messages.*order-18"), tape.life():
        way(server, "agent", "pay order-18")
    assert (asked_of(server), RAN) == (asked, ran)


@every_way
def test_a_stop_that_is_swallowed_comes_again(server: ModelServer, way: Any) -> None:
    tape = Tape()
    with tape.life():
        way(server, "agent")

    def swallow_and_go_on() -> None:
        with pytest.raises(Divergence) as first:
            way(server, "agent", "pay order-18")
        with pytest.raises(Divergence) as second:
            way(server, "agent")
        assert second.value is first.value

    with pytest.raises(RunStopped), tape.life():
        swallow_and_go_on()


def test_errors_of_calls_beside_each_other_are_told_in_the_order_of_the_answer(server: ModelServer) -> None:
    tape = Tape()
    told: list[str] = []
    for _ in range(2):
        with tape.life():
            agent = smolagents.ToolCallingAgent([refuse_card], model_of(server), verbosity_level=-1)
            told.append(str(agent.run(TASK)))
    assert told[0] == told[1]
    assert "CardRefused: 1 refused, number 2" in told[0]
    assert RAN["refuse_card"] == 2
    assert asked_of(server) == 2


def test_equal_calls_beside_each_other_are_told_apart(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        first = take_thrice(server, "agent", threading.Barrier(3).wait)
    with tape.life() as session:
        assert take_thrice(server, "agent") == first
        assert session.executed == 0
    assert len(set(first.removeprefix("took: ").splitlines())) == 3
    assert RAN["take_cents"] == 3
    # The one that no other call of the answer equals is known by its id, whatever thread it ran in.
    assert tape.scopes(NodeType.TOOL)[0] == "/ToolCallingAgent.0"


def test_a_stop_in_a_thread_ends_the_run(server: ModelServer) -> None:
    whole = Tape()
    with whole.life():
        take_thrice(server, "whole")
    doubts = 0
    for killed_after in range(2, len(whole.lines)):
        RAN.clear()
        label = f"killed after {killed_after}"
        tape = Tape()
        with suppress(Killed), tape.life(killed_after):
            take_thrice(server, label)
        in_doubt = any(line.attributes.get(names.EFFECT) for line in tape.open_calls())
        try:
            with tape.life():
                take_thrice(server, label)
        except RunStopped as stopped:
            assert isinstance(stopped.cause, InDoubt)
            assert in_doubt
            doubts += 1
        except InDoubt:
            assert in_doubt
            doubts += 1
        else:
            assert not in_doubt
            assert RAN["take_cents"] == 3
        assert RAN["take_cents"] <= 3
    assert doubts > 0


def test_managed_agents_beside_each_other_are_scopes(server: ModelServer) -> None:
    def manage(label: str) -> str:
        seller = order_agent(server, label, name="seller", description="Sells.")
        boss = smolagents.ToolCallingAgent(
            [], model_of(server, label), managed_agents=[seller], verbosity_level=-1, max_tool_threads=1
        )
        return str(boss.run(TASK))

    tape = Tape()
    with tape.life():
        first = manage("agent")
    assert RAN["charge_card"] == 2
    assert asked_of(server) == 8
    with tape.life() as session:
        assert manage("agent") == first
        assert session.executed == 0
    one = "~ToolCallingAgent.process_tool_calls.<locals>.process_single_tool_call"
    charges = [line.scope for line in tape.calls(NodeType.TOOL) if line.name == "charge_card"]
    assert charges == [f"/ToolCallingAgent.0/{one}.{n}/seller.0" for n in (0, 1)]
    for killed_after in range(20, len(tape.lines), 3):
        RAN.clear()
        label = f"killed after {killed_after}"
        part = Tape()
        with suppress(Killed), part.life(killed_after):
            manage(label)
        if any(line.attributes.get(names.EFFECT) for line in part.open_calls()):
            continue
        open_prompts = sum(line.type == NodeType.PROMPT for line in part.open_calls())
        with part.life():
            assert manage(label) == first
        assert RAN["charge_card"] == 2
        assert asked_of(server, label) <= 8 + open_prompts


def test_a_tool_call_that_is_written_as_text_has_the_same_id_in_every_life(server: ModelServer) -> None:
    def textual(label: str) -> str:
        # Without tools offered: this model writes them.
        agent = order_agent(server, label)
        agent.model.kwargs = {
            "tools": smolagents.models.REMOVE_PARAMETER,
            "tool_choice": smolagents.models.REMOVE_PARAMETER,
        }
        return str(agent.run("pay order-17 as text"))

    tape = Tape()
    with tape.life():
        textual("agent")
    with tape.life() as session:
        textual("agent")
        assert session.executed == 0
    assert RAN["charge_card"] == 1


def test_where_the_client_below_is_hooked_too_nothing_is_recorded_twice(server: ModelServer) -> None:
    instrument(["openai"])
    for way in (use_tools, stream_tools):
        tape = Tape()
        with tape.life() as session:
            first = way(server, "agent")
            assert session.executed == 6
        with tape.life() as session:
            assert way(server, "agent") == first
            assert session.executed == 0


def test_what_an_answer_says_of_itself_is_recorded(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        use_tools(server, "agent")
    prompt = tape.calls(NodeType.PROMPT, "ended")[0].attributes
    assert prompt[names.MODEL] == "livespan-test-model"
    assert prompt[names.PROVIDER] == "openai"
    assert prompt[names.INPUT_TOKENS] > 0
    assert prompt[names.OUTPUT_TOKENS] > 0
    assert prompt[names.FRAMEWORK] == "smolagents"
    asked = [line.attributes[names.TOOL_CALL_ID] for line in tape.calls(NodeType.TOOL)[:2]]
    assert all(call_id in prompt[names.ISSUED] for call_id in asked)
    assert tape.calls(NodeType.TOOL)[0].attributes[names.TOOL_ARGUMENTS] == '{"order_id":"order-17"}'


def test_a_whole_answer_comes_back_as_it_was(server: ModelServer) -> None:
    tape = Tape()
    answers: list[Any] = []
    for _ in range(2):
        with tape.life():
            model = model_of(server)
            answers.append(model.generate([{"role": "user", "content": [{"type": "text", "text": "as text"}]}]))
    assert answers[0] == answers[1]
    assert type(answers[0].raw) is type(answers[1].raw)
    assert asked_of(server) == 1


def test_a_stream_that_its_reader_leaves_is_asked_again(server: ModelServer) -> None:
    tape = Tape()
    with tape.life():
        steps = order_agent(server, stream_outputs=True).run(TASK, stream=True)
        next(steps)
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):  # as without us: it yields in a finally
            steps.close()
    assert asked_of(server) == 1
    with tape.life():
        stream_tools(server, "agent")
    assert asked_of(server) == 4
    assert RAN["charge_card"] == 1


def test_bad_arguments_reach_no_tool_and_are_not_recorded(server: ModelServer) -> None:
    tape = Tape()
    with tape.life() as session:
        agent = order_agent(server)
        with pytest.raises(smolagents.utils.AgentToolCallError):
            agent.execute_tool_call("charge_card", {"dollars": 42})
        with pytest.raises(TypeError):
            charge_card(dollars=42)
        assert session.executed == 0


def test_images_and_texts_come_back_as_they_were() -> None:
    image_of: Any = import_module("PIL.Image")

    class Draw(smolagents.Tool):  # type: ignore[misc]  # as above
        name = "draw"
        description = "Draws."
        inputs: Final = {"colour": {"type": "string", "description": "which"}}
        output_type = "image"

        def forward(self, colour: str) -> Any:
            RAN["draw"] += 1
            return image_of.new("RGB", (2, 2), colour)

    tape = Tape()
    drawn: list[Any] = []
    for _ in range(2):
        with tape.life():
            drawn.append(Draw()(colour="red", sanitize_inputs_outputs=True))
            text = look_up_order("order-17", sanitize_inputs_outputs=True)
            assert type(text) is smolagents.AgentText
    assert RAN == {"draw": 1, "look_up_order": 1}
    assert type(drawn[1]) is smolagents.AgentImage
    assert drawn[0].to_raw().tobytes() == drawn[1].to_raw().tobytes()


def test_uninstrument_puts_everything_back(server: ModelServer) -> None:
    uninstrument()
    replaced: list[tuple[Any, str]] = [
        (smolagents.Model, "generate"),
        (smolagents.OpenAIModel, "generate"),
        (smolagents.OpenAIModel, "generate_stream"),
        (smolagents.Tool, "__call__"),
        (smolagents.MultiStepAgent, "run"),
        (smolagents.ToolCallingAgent, "process_tool_calls"),
        (smolagents.ToolCallingAgent, "execute_tool_call"),
        (smolagents.models, "get_tool_call_from_text"),
    ]
    for owner, name in replaced:
        assert getattr(owner.__dict__[name], "__wrapped__", None) is None, name
    assert smolagents.agents.as_completed.__module__ == "concurrent.futures._base"
    tape = Tape()
    with tape.life() as session:
        use_tools(server, "agent")
        assert session.executed == 0

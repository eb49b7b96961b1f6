"""Tools of a real MCP server in this process, called through its client: recorded, killed, hinted, keyed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
from mcp import Client, ClientSession
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, ToolAnnotations
from tests.instrumentation.fake_session import Killed, Tape

import livespan.instrumentation as ls
from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.instrumentation.frameworks.mcp_tools import KEY
from livespan.proto import attributes as names
from livespan.proto.errors import Divergence, InDoubt, RunStopped
from livespan.proto.node import NodeType

RAN: Final[Counter[str]] = Counter()
KEYS: Final[list[object]] = []
server: Final = MCPServer("shop")


def note(name: str, context: Context[Any]) -> None:
    RAN[name] += 1
    KEYS.append((context.request_context.meta or {}).get(KEY))


@server.tool()
def charge_card(cents: int, context: Context[Any]) -> str:
    """Charge the card."""
    note("charge_card", context)
    return f"rc-{RAN['charge_card']}"


@server.tool()
def receipt(cents: int, context: Context[Any]) -> dict[str, int]:
    """Write a receipt."""
    note("receipt", context)
    return {"cents": cents}


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look_up_order(order_id: str, context: Context[Any]) -> str:
    """Look up an order."""
    note("look_up_order", context)
    return f"{order_id}: a kettle"


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def mark_paid(order_id: str, context: Context[Any]) -> str:
    """Say that an order is paid."""
    note("mark_paid", context)
    return f"{order_id} is paid"


@server.tool()
def refuse() -> str:
    """Refuse."""
    RAN["refuse"] += 1
    raise ValueError("not today")


Work = Callable[[ClientSession], Awaitable[list[CallToolResult]]]


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    KEYS.clear()
    instrument(["mcp"])
    yield
    uninstrument()


def play(work: Work) -> list[CallToolResult]:
    async def connected() -> list[CallToolResult]:
        async with Client(server) as client:
            return await work(client.session)

    return asyncio.run(connected())


async def whole_order(session: ClientSession) -> list[CallToolResult]:
    await session.list_tools()
    found = [await session.call_tool("look_up_order", {"order_id": "order-17"})]
    found.append(await session.call_tool("charge_card", {"cents": 4200}))
    found.append(await session.call_tool("receipt", {"cents": 4200}))
    found.append(await session.call_tool("mark_paid", {"order_id": "order-17"}))
    found.append(await session.call_tool("refuse"))
    return found


async def one_charge(session: ClientSession) -> list[CallToolResult]:
    return [await session.call_tool("charge_card", {"cents": 4200})]


def test_a_second_life_has_the_same_results_from_the_record() -> None:
    tape, found = Tape(), list[list[CallToolResult]]()
    for _ in range(2):
        with tape.life() as session:
            found.append(play(whole_order))
            assert session.executed + session.reused == 5
    assert found[0] == found[1]
    assert repr(found[0]) == repr(found[1])
    assert {type(one) for one in found[1]} == {CallToolResult}
    assert found[1][4].is_error
    assert RAN == {"look_up_order": 1, "charge_card": 1, "receipt": 1, "mark_paid": 1, "refuse": 1}
    ended = {line.name: line.attributes for line in tape.calls(NodeType.TOOL, "ended")}
    assert '"structuredContent":{"cents":4200}' in ended["receipt"][names.TOOL_RESULT]
    assert ended["receipt"][names.FRAMEWORK] == "mcp"


def test_hints_say_what_is_no_effect() -> None:
    tape = Tape()
    with tape.life():
        play(whole_order)
    effects = {line.name: bool(line.attributes.get(names.EFFECT)) for line in tape.calls(NodeType.TOOL)}
    assert effects == {
        "look_up_order": False,
        "charge_card": True,
        "receipt": True,
        "mark_paid": False,
        "refuse": True,
    }


def test_what_was_not_listed_is_an_effect_and_what_the_user_says_wins() -> None:
    async def look_up(session: ClientSession) -> list[CallToolResult]:
        return [await session.call_tool("look_up_order", {"order_id": "order-17"}) for _ in range(2)]

    for says, effect in ((None, True), ({"look_up_order": False}, False)):
        instrument(["mcp"], effects=says)
        tape = Tape()
        with tape.life():
            play(look_up)
        assert [bool(line.attributes.get(names.EFFECT)) for line in tape.calls(NodeType.TOOL)] == [effect] * 2


def test_wherever_it_is_killed_the_next_life_ends_the_run_and_does_nothing_twice() -> None:
    whole = Tape()
    with whole.life():
        play(whole_order)
    doubts: list[str] = []
    for killed_after in range(2, len(whole.lines)):
        RAN.clear()
        tape = Tape()
        # A transport's group of tasks makes a group of what leaves it.
        with suppress(Killed, BaseExceptionGroup), tape.life(killed_after):
            play(whole_order)
        assert tape.dead
        in_doubt = [line.name for line in tape.open_calls() if line.attributes.get(names.EFFECT)]
        try:
            with tape.life():
                found = play(whole_order)
        except (InDoubt, RunStopped, BaseExceptionGroup) as error:
            assert in_doubt
            assert isinstance(error, RunStopped)
            doubts += in_doubt
            continue
        assert not in_doubt
        assert found[1].structured_content == {"result": "rc-1"}
        assert (RAN["charge_card"], RAN["receipt"], RAN["refuse"]) == (1, 1, 1)
    assert doubts == ["charge_card", "receipt", "refuse"]


def killed_inside(work: Work, name: str) -> Tape:
    """Return the tape of a life that was killed when this tool was done and its end was not written."""
    whole = Tape()
    with whole.life():
        play(work)
    place = next(n for n, line in enumerate(whole.lines, 1) if line.name == name and line.kind == "ended")
    tape = Tape()
    with suppress(Killed, BaseExceptionGroup), tape.life(place):
        play(work)
    tape.lines.pop()
    return tape


def test_an_effect_is_asked_again_under_its_key_where_the_user_said_so() -> None:
    tape = killed_inside(one_charge, "charge_card")
    KEYS.clear()
    tape_key = tape.calls(NodeType.TOOL)[0].attributes[names.IDEMPOTENCY_KEY]
    with pytest.raises(RunStopped, match="charge_card"), tape.life():
        play(one_charge)
    assert KEYS == []
    instrument(["mcp"], in_doubt={"charge_card": "retry"})
    with tape.life():
        assert not play(one_charge)[0].is_error
    assert [tape_key] == KEYS


def test_what_a_probe_returns_is_a_result() -> None:
    async def listed(session: ClientSession) -> list[CallToolResult]:
        await session.list_tools()
        return [
            await session.call_tool("charge_card", {"cents": 4200}),
            await session.call_tool("receipt", {"cents": 4200}),
        ]

    seen: list[tuple[str, int]] = []

    def probe(key: str, cents: int) -> object:
        seen.append((key, cents))
        return "rc-9"

    tape = killed_inside(listed, "charge_card")
    instrument(["mcp"], in_doubt={"charge_card": probe})
    with tape.life():
        charged, written = play(listed)
    assert charged.structured_content == {"result": "rc-9"}
    assert written.structured_content == {"cents": 4200}
    tape = killed_inside(listed, "receipt")

    def written_elsewhere(key: str, cents: int) -> object:
        del key, cents
        return {"cents": 1}

    instrument(["mcp"], in_doubt={"receipt": written_elsewhere})
    with tape.life():
        assert play(listed)[1].structured_content == {"cents": 1}
    assert [cents for _, cents in seen] == [4200]
    assert seen[0][0].startswith("ls-")


def test_parallel_and_equal_calls_are_kept_apart() -> None:
    async def three(session: ClientSession) -> list[CallToolResult]:
        return await asyncio.gather(*[session.call_tool("charge_card", {"cents": 4200}) for _ in range(3)])

    tape, found = Tape(), list[list[CallToolResult]]()
    for _ in range(2):
        with tape.life():
            found.append(play(three))
    assert found[0] == found[1]
    assert RAN["charge_card"] == 3
    assert len(set(KEYS)) == 3


def test_below_a_recorded_tool_it_passes_and_hands_on_that_tools_key() -> None:
    keys: list[str] = []

    async def work(session: ClientSession) -> list[CallToolResult]:
        @ls.tool(name="shop_charge_card")
        async def charge(cents: int) -> str:
            keys.append(ls.idempotency_key())
            result = await session.call_tool("charge_card", {"cents": cents})
            await session.call_tool("receipt", {"cents": cents})
            return str(result.structured_content)

        assert await charge(4200) == "{'result': 'rc-1'}"
        return []

    tape = Tape()
    for _ in range(2):
        with tape.life():
            play(work)
    assert [line.name for line in tape.calls(NodeType.TOOL)] == ["shop_charge_card"]
    assert RAN == {"charge_card": 1, "receipt": 1}
    assert [keys[0], None] == KEYS


def test_what_the_program_says_beside_stays() -> None:
    async def work(session: ClientSession) -> list[CallToolResult]:
        meta: Any = {KEY: "mine"}
        return [await session.call_tool("charge_card", {"cents": 1}, meta=meta)]

    tape = Tape()
    with tape.life():
        play(work)
    assert KEYS == ["mine"]


def test_other_arguments_diverge_before_anything_is_called() -> None:
    async def other(session: ClientSession) -> list[CallToolResult]:
        return [await session.call_tool("charge_card", {"cents": 1})]

    tape = Tape()
    with tape.life():
        play(one_charge)
    with pytest.raises((Divergence, RunStopped), match="charge_card"), tape.life():
        play(other)
    assert RAN["charge_card"] == 1


def test_everything_is_put_back() -> None:
    uninstrument()
    before = (ClientSession.call_tool, ClientSession.list_tools)
    instrument(["mcp"])
    assert before[0] is not ClientSession.call_tool
    uninstrument()
    assert before == (ClientSession.call_tool, ClientSession.list_tools)


@ls.tool(effect=False, ignore=("session",))
async def look_and_pay(session: ClientSession) -> str:
    """Say that it changes nothing, which is not so."""
    await session.call_tool("charge_card", {"cents": 4200})
    await session.call_tool("receipt", {"cents": 4200})
    return "paid"


def test_an_effect_within_a_tool_that_is_a_read_is_recorded_by_itself() -> None:
    async def work(session: ClientSession) -> list[CallToolResult]:
        assert await look_and_pay(session) == "paid"
        return []

    tape = Tape()
    with tape.life():
        play(work)
    assert sorted(line.name for line in tape.calls(NodeType.TOOL)) == ["charge_card", "look_and_pay", "receipt"]

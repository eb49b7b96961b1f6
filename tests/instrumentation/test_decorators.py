from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.livespan_home import Died, LiveHome

import livespan.instrumentation as ls
from livespan.instrumentation.decorators import is_recorded, policy
from livespan.proto.errors import InDoubt, InvalidInput, RecordedError, RunStopped, Unrecordable

ran: list[object] = []


@dataclass(frozen=True)
class Wallet:
    owner: str

    @ls.tool
    def charge(self, cents: int) -> str:
        del cents
        return self.owner


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def lives(live: LiveHome, run_id: str, *bodies: Callable[[], object]) -> list[object]:
    """Play a run's lives; each returns its body's result, or what it raised."""
    told: list[object] = []
    for body in bodies:
        try:
            with live.run(run_id):
                told.append(body())
        except Exception as error:
            told.append(error)
    return told


# Which calls are the same one.


def test_arguments_are_bound_to_names_with_their_defaults(shared: LiveHome) -> None:
    @ls.tool
    def send(to: str, text: str = "hello", *rest: int, loud: bool = False, **more: str) -> int:
        ran.append((to, text, rest, loud, more))
        return len(ran)

    assert lives(
        shared,
        "bound",
        lambda: [send("ann"), send("ann", "hi", 1, loud=True, x="y")],
        lambda: [send(to="ann", text="hello", loud=False), send("ann", "hi", 1, x="y", loud=True)],
    ) == [[1, 2], [1, 2]]
    assert len(ran) == 2


def test_arguments_that_do_not_fit_are_a_type_error_and_no_call(shared: LiveHome) -> None:
    @ls.tool
    def send(to: str) -> None:
        ran.append(to)

    with shared.run("no fit") as run:
        with pytest.raises(TypeError):
            send("ann", "bob")  # type: ignore[call-arg]  # what is tested
        assert run.executed == 0


def test_an_ignored_argument_does_not_identify_a_call(shared: LiveHome) -> None:
    @ls.tool(ignore=("trace",))
    def send(to: str, trace: str) -> str:
        ran.append(trace)
        return trace

    assert lives(shared, "ignored", lambda: send("ann", "t1"), lambda: send("ann", "t2")) == ["t1", "t1"]
    [_, changed] = lives(shared, "ignored 2", lambda: send("ann", "t1"), lambda: send("bob", "t1"))
    assert isinstance(changed, RunStopped)


def test_a_key_identifies_a_call_in_place_of_its_arguments(shared: LiveHome) -> None:
    def order_alone(order: str, at: int) -> str:
        return order

    @ls.tool(key=order_alone)
    def ship(order: str, at: int) -> int:
        ran.append(order)
        return at

    assert lives(shared, "key", lambda: ship("o-1", 1), lambda: ship("o-1", 2)) == [1, 1]
    assert ran == ["o-1"]


def test_an_ignored_argument_that_no_codec_holds_is_left_out_of_the_record(shared: LiveHome) -> None:
    @ls.tool(ignore=("client",))
    def send(client: object, to: str) -> str:
        ran.append(to)
        return to

    told = lives(shared, "ignored client", lambda: send(object(), "ann"), lambda: send(object(), "ann"))
    assert (told, ran) == (["ann", "ann"], ["ann"])
    [_, changed] = lives(shared, "ignored client 2", lambda: send(object(), "ann"), lambda: send(object(), "bob"))
    assert isinstance(changed, RunStopped)


def test_a_method_is_a_tool_whatever_its_object_is(shared: LiveHome) -> None:
    class Shop:
        @ls.tool
        def charge(self, cents: int) -> int:
            ran.append(cents)
            return cents

        @classmethod
        @ls.step
        def think(cls, question: str) -> str:
            ran.append(question)
            return question.upper()

    def life() -> tuple[int, str]:
        return Shop().charge(7), Shop.think("a")

    assert lives(shared, "method", life, life) == [(7, "A"), (7, "A")]
    assert ran == [7, "a"]


def test_a_methods_object_that_a_codec_holds_tells_calls_apart(shared: LiveHome) -> None:
    [first, changed] = lives(shared, "wallet", lambda: Wallet("ann").charge(7), lambda: Wallet("bob").charge(7))
    assert first == "ann"
    assert isinstance(changed, RunStopped)


def test_who_is_refused_is_told_which_call_and_whether_it_was_made(shared: LiveHome) -> None:
    @ls.tool
    def find(what: object) -> object:
        ran.append(what)
        return object()

    with shared.run("named"):
        with pytest.raises(Unrecordable, match=r"arguments\.what: .*: find was not called"):
            find(object())
        assert ran == []
        with pytest.raises(Unrecordable, match="find was done, and its result cannot be recorded"):
            find(1)
        assert ran == [1]


def test_a_step_of_an_unknown_type_is_refused_where_it_is_declared() -> None:
    with pytest.raises(InvalidInput, match="PROMPT, MEMORY, BRANCH"):
        ls.step(type="TOOL")  # type: ignore[call-overload]  # what is tested


def test_an_ignored_argument_that_is_none_of_the_tools_is_refused_where_it_is_declared() -> None:
    with pytest.raises(InvalidInput, match="traec"):

        @ls.tool(ignore=("traec",))
        def send(trace: str) -> None: ...  # pyright: ignore[reportUnusedFunction]  # the declaration is what is tested


def test_the_same_call_twice_is_two_calls(shared: LiveHome) -> None:
    @ls.tool
    def count() -> int:
        ran.append("count")
        return len(ran)

    assert lives(shared, "two", lambda: [count(), count()], lambda: [count(), count()]) == [[1, 2], [1, 2]]


def test_every_try_of_a_call_has_one_idempotency_key_and_two_calls_have_two(shared: LiveHome) -> None:
    @ls.tool(in_doubt="retry")
    def charge(cents: int) -> str:
        ran.append(ls.idempotency_key())
        if len(ran) == 1:
            raise Died
        return ls.idempotency_key()

    lives(shared, "key of a try", lambda: charge(1), lambda: [charge(1), charge(1)])
    assert ran[0] == ran[1] != ran[2]
    assert str(ran[0]).startswith("ls-")
    assert ls.idempotency_key() == ""


# What may be decorated.


def test_async_tools_are_recorded_and_answered(shared: LiveHome) -> None:
    @ls.tool
    async def send(to: str) -> str:
        await asyncio.sleep(0)
        ran.append(to)
        return to.upper()

    def life() -> str:
        return asyncio.run(send("ann"))

    assert lives(shared, "async tool", life, life) == ["ANN", "ANN"]
    assert ran == ["ann"]


def test_generators_are_refused_where_they_are_declared() -> None:
    def items() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for decorate in (ls.tool, ls.step, ls.step(type="BRANCH"), ls.tool(scope=True)):
        with pytest.raises(InvalidInput, match="generator"):
            decorate(items)
        with pytest.raises(InvalidInput, match="generator"):
            decorate(later)


def test_a_decorated_function_says_so_and_keeps_its_name() -> None:
    @ls.tool
    def charge() -> None:
        """Charges."""

    assert is_recorded(charge)
    assert not is_recorded(lives)
    assert (charge.__name__, charge.__doc__) == ("charge", "Charges.")


def test_a_branch_is_entered_in_every_life_and_what_it_calls_is_answered(shared: LiveHome) -> None:
    @ls.step
    def think(what: str) -> str:
        ran.append(what)
        return what.upper()

    @ls.step(type="BRANCH")
    def plan(what: str) -> str:
        entered.append(what)
        return think(what)

    entered: list[str] = []
    assert lives(shared, "branch", lambda: [plan("a"), plan("a")], lambda: [plan("a"), plan("a")]) == [["A", "A"]] * 2
    assert (ran, len(entered)) == (["a", "a"], 4)
    assert {record.attributes.get("livespan.scope") for record in shared.records("branch")} >= {"/plan.0", "/plan.1"}


def test_a_tool_that_is_a_scope_is_entered_and_its_parts_are_answered(shared: LiveHome) -> None:
    @ls.tool
    def charge(cents: int) -> int:
        ran.append(cents)
        return cents

    @ls.tool(scope=True)
    async def order(cents: int) -> int:
        ran.append("order")
        return charge(cents)

    def life() -> int:
        return asyncio.run(order(3))

    assert lives(shared, "scope", life, life) == [3, 3]
    assert ran == ["order", 3, "order"]


def test_a_memory_step_is_answered(shared: LiveHome) -> None:
    @ls.step(type="MEMORY", name="profile")
    def look_up(user: str) -> dict[str, str]:
        ran.append(user)
        return {"user": user}

    assert lives(shared, "memory", lambda: look_up("ann"), lambda: look_up("ann")) == [{"user": "ann"}] * 2
    assert ran == ["ann"]
    assert {record.name for record in shared.records("memory")} >= {"profile"}


# Effects in doubt.


def test_an_effect_in_doubt_is_asked_again_where_the_tool_says_retry(shared: LiveHome) -> None:
    @ls.tool(in_doubt="retry")
    def charge(cents: int) -> int:
        ran.append(cents)
        if len(ran) == 1:
            raise Died
        return cents

    first, second, third = lives(shared, "retry", *[lambda: charge(1)] * 3)
    assert isinstance(first, RunStopped)
    assert (second, third, ran) == (1, 1, [1, 1])


def test_a_retry_past_its_window_is_in_doubt(shared: LiveHome) -> None:
    @ls.tool(in_doubt=ls.Retry(within_s=0.0))
    def charge(cents: int) -> int:
        ran.append(cents)
        raise Died

    _, second = lives(shared, "window", *[lambda: charge(1)] * 2)
    assert isinstance(second, RunStopped)
    assert isinstance(second.cause, InDoubt)
    assert ran == [1]


def test_a_read_in_flight_is_asked_again(shared: LiveHome) -> None:
    @ls.tool(effect=False)
    def look(at: str) -> str:
        ran.append(at)
        if len(ran) == 1:
            raise Died
        return at

    assert lives(shared, "read", *[lambda: look("x")] * 2)[1] == "x"
    assert ran == ["x", "x"]


def test_a_probe_that_finds_the_outcome_answers_with_it(shared: LiveHome) -> None:
    def look_up(key: str, cents: int, *, currency: str) -> dict[str, object]:
        return {"found": cents, "in": currency, "key": key[:3]}

    @ls.tool(in_doubt=look_up)
    def charge(cents: int, *, currency: str) -> dict[str, object]:
        ran.append(cents)
        raise Died

    found = {"found": 7, "in": "EUR", "key": "ls-"}
    assert lives(shared, "probe", *[lambda: charge(7, currency="EUR")] * 3)[1:] == [found, found]
    assert ran == [7]


def test_a_probe_that_finds_nothing_lets_the_effect_run(shared: LiveHome) -> None:
    def nothing_found(key: str, cents: int) -> object:
        return ls.NOT_DONE

    @ls.tool(in_doubt=nothing_found)
    def charge(cents: int) -> int:
        ran.append(cents)
        if len(ran) == 1:
            raise Died
        return cents

    assert lives(shared, "not done", *[lambda: charge(7)] * 3)[1:] == [7, 7]
    assert ran == [7, 7]


def test_a_probe_that_fails_leaves_the_effect_in_doubt_and_says_why(shared: LiveHome) -> None:
    def look_up(key: str, cents: int) -> int:
        raise ConnectionError("provider is down")

    @ls.tool(in_doubt=look_up)
    def charge(cents: int) -> int:
        ran.append(cents)
        raise Died

    stopped = lives(shared, "probe fails", *[lambda: charge(7)] * 2)[1]
    assert isinstance(stopped, RunStopped)
    assert "ConnectionError: provider is down" in stopped.message
    assert "livespan resolve 'probe fails'" in stopped.hint or "livespan resolve probe fails" in stopped.hint
    assert ran == [7]


def test_what_a_probe_finds_must_be_recordable(shared: LiveHome) -> None:
    def look_up(key: str) -> object:
        return object()

    @ls.tool(in_doubt=look_up)
    def charge() -> int:
        ran.append("charge")
        raise Died

    told = lives(shared, "probe finds", *[charge] * 2)[1]
    assert isinstance(told, (Unrecordable, RunStopped)), told
    assert ran == ["charge"]


@pytest.mark.parametrize("decorator", [ls.tool, ls.step])
def test_a_name_in_the_place_of_the_function_is_refused(decorator: Any) -> None:
    with pytest.raises(InvalidInput, match="name="):
        decorator("charge")


def test_a_read_that_says_what_to_do_in_doubt_is_refused_where_it_is_declared() -> None:
    with pytest.raises(InvalidInput, match="never in doubt"):
        ls.tool(effect=False, in_doubt="retry")


def test_the_environment_says_what_tools_say_not_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVESPAN_IN_DOUBT", "charge=retry,fail")
    assert isinstance(policy(None, "charge"), ls.Retry)
    assert not isinstance(policy(None, "send"), ls.Retry)
    assert not isinstance(policy("fail", "charge"), ls.Retry)
    with pytest.raises(InvalidInput, match="no in-doubt policy"):
        policy("maybe", "charge")  # type: ignore[arg-type]  # what is tested


# Errors as outcomes.


@dataclass
class Declined(Exception):
    reason: str = ""


def test_an_error_that_the_program_caught_is_raised_again_with_its_type(shared: LiveHome) -> None:
    @ls.step
    def think(what: str) -> str:
        ran.append(what)
        raise KeyError(what)

    def life() -> str:
        try:
            return think("a")
        except KeyError as error:
            return f"caught {error}"

    assert lives(shared, "caught", life, life) == ["caught 'a'"] * 2
    assert ran == ["a"]


def test_an_error_whose_type_cannot_be_made_again_is_a_recorded_error(shared: LiveHome) -> None:
    class Local(Exception):
        def __init__(self, one: object, other: object) -> None:
            super().__init__(f"{one} {other}")

    @ls.step
    def think() -> str:
        ran.append("think")
        raise Local(object, object)

    def life() -> str:
        try:
            return think()
        except RecordedError as error:
            return error.type_name.rpartition(".")[2]
        except Local:
            return "Local itself"

    assert lives(shared, "local", life, life) == ["Local itself", "Local"]


def test_the_error_that_ended_the_run_is_asked_again(shared: LiveHome) -> None:
    @ls.step
    def think() -> int:
        ran.append("think")
        if len(ran) == 1:
            raise TimeoutError("slow")
        return 1

    assert [type(told) for told in lives(shared, "asked again", think, think)] == [TimeoutError, int]


def test_an_effect_that_raised_is_in_doubt(shared: LiveHome) -> None:
    @ls.tool
    def charge() -> int:
        ran.append("charge")
        raise TimeoutError("did it arrive?")

    first, second = lives(shared, "raised", charge, charge)
    assert isinstance(first, TimeoutError)
    assert isinstance(second, RunStopped)
    assert isinstance(second.cause, InDoubt)
    assert ran == ["charge"]


@pytest.mark.parametrize("error", [ls.NotDone("declined"), Declined("no funds")])
def test_an_effect_that_says_it_was_not_done_is_asked_again(shared: LiveHome, error: Exception) -> None:
    @ls.tool(not_done_on=(Declined,))
    def charge() -> int:
        ran.append("charge")
        if len(ran) == 1:
            raise error
        return 1

    first, second = lives(shared, f"not done on {type(error).__name__}", charge, charge)
    assert type(first) is type(error)
    assert (second, len(ran)) == (1, 2)


# What cannot be recorded.


def test_an_argument_that_no_codec_holds_is_refused_by_its_name_before_the_call(shared: LiveHome) -> None:
    @ls.tool
    def send(to: str, socket: object) -> None:
        ran.append(to)

    with shared.run("unrecordable argument") as run:
        with pytest.raises(Unrecordable, match="socket"):
            send("ann", socket=object())
        assert (run.executed, ran) == (0, [])


def test_a_result_that_no_codec_holds_is_refused_after_the_call_and_again_without_it(shared: LiveHome) -> None:
    @ls.tool
    def charge() -> object:
        ran.append("charge")
        return object()

    def life() -> str:
        with pytest.raises(Unrecordable):
            charge()
        return "told"

    assert lives(shared, "unrecordable result", life, life) == ["told", "told"]
    assert ran == ["charge"]

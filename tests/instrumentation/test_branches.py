"""Tasks, threads, pool work and forks get the same names in every life, and nothing else does."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from anyio import to_thread

from livespan.instrumentation import branches
from livespan.instrumentation.branches import branch, current, entered
from livespan.instrumentation.branches.label import label_of
from livespan.instrumentation.core import Call, Core, Live, Scope
from livespan.proto.errors import Divergence
from livespan.proto.ids import trace_id
from livespan.proto.node import NodeType


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    branches.install()
    yield
    branches.uninstall()


@pytest.fixture
def root() -> Scope:
    return Core(trace_id("tests", "branches")).root


def path() -> str:
    scope = current()
    return "" if scope is None else scope.path


async def where() -> str:
    await asyncio.sleep(0)
    return path()


def test_install_is_idempotent_and_uninstall_puts_all_back() -> None:
    hooked = asyncio.BaseEventLoop.create_task
    branches.install()
    assert asyncio.BaseEventLoop.create_task is hooked
    branches.uninstall()
    assert asyncio.BaseEventLoop.create_task is not hooked
    assert asyncio.BaseEventLoop.create_task.__module__ == "asyncio.base_events"


def test_outside_of_runs_nothing_is_named() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(path).result() == ""
    assert asyncio.run(where()) == ""


async def test_tasks_are_named_by_label_in_the_order_of_their_creation(root: Scope) -> None:
    async def other() -> str:
        return path()

    with entered(root):
        tasks = [asyncio.create_task(c) for c in (where(), other(), where())]
        assert await asyncio.gather(*tasks, where()) == [
            "/~where.0",
            f"/~{other.__qualname__}.0",
            "/~where.1",
            "/~where.2",
        ]
        async with asyncio.TaskGroup() as group:
            task = group.create_task(where())
        assert task.result() == "/~where.3"
        assert path() == "/"


async def test_a_task_of_a_task_lies_under_it(root: Scope) -> None:
    async def outer() -> str:
        return await asyncio.create_task(where())

    with entered(root):
        assert await asyncio.create_task(outer()) == f"/~{outer.__qualname__}.0/~where.0"


async def test_a_task_in_a_context_of_the_programs_own_is_named_without_writing_to_it(
    root: Scope,
) -> None:
    with entered(root):
        shared = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(where(), context=shared) for _ in range(3)]
        assert await asyncio.gather(*tasks) == ["/~where.0", "/~where.1", "/~where.2"]
        assert shared.run(path) == "/"


async def test_a_task_factory_of_the_programs_own_is_given_what_it_is_used_to(root: Scope) -> None:
    loop = asyncio.get_running_loop()

    def factory(loop: asyncio.AbstractEventLoop, coro: object) -> asyncio.Future[object]:
        return asyncio.Task(coro, loop=loop)  # type: ignore[arg-type]  # as a program would write it

    loop.set_task_factory(factory)  # type: ignore[arg-type]  # the signature before contexts
    try:
        with entered(root):
            assert list(await asyncio.gather(where(), where())) == ["/~where.0", "/~where.1"]
    finally:
        loop.set_task_factory(None)


async def test_pool_work_is_named_where_it_is_submitted_and_workers_are_not(root: Scope) -> None:
    with entered(root):
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(path) for _ in range(6)]
            assert [f.result() for f in futures] == [f"/~path.{n}" for n in range(6)]
            assert list(root.counters()) == ["~path"]
        assert await asyncio.to_thread(path) == "/~path.6"
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, partial(path)) == "/~path.7"


def test_work_that_brings_its_parents_context_is_in_its_own_branch(root: Scope) -> None:
    def nested() -> list[str]:
        with ThreadPoolExecutor(1) as inner:
            return [
                path(),
                inner.submit(contextvars.copy_context().run, path).result(),
                asyncio.run(where()),
            ]

    with entered(root), ThreadPoolExecutor(1) as pool:
        future = pool.submit(contextvars.copy_context().run, nested)
        name = f"/~{nested.__qualname__}.0"
        # The root's scope is in all these contexts.
        assert future.result() == [name, f"{name}/~path.0", f"{name}/~where.0"]
        assert pool.submit(path).result() == "/~path.0"
    assert path() == ""


def test_a_worker_that_was_started_by_a_run_is_in_no_run_afterwards(root: Scope) -> None:
    with ThreadPoolExecutor(1) as pool:
        with entered(root):
            pool.submit(path).result()
        assert pool.submit(path).result() == ""


async def test_work_of_anyios_pool_is_its_submitters_whichever_worker_takes_it(root: Scope) -> None:
    with entered(root):
        first = await to_thread.run_sync(path)
        with entered(root.named("agent")):
            second = await to_thread.run_sync(path)  # by the idle worker
        both = await asyncio.gather(*[to_thread.run_sync(path) for _ in range(2)])
    assert (first, second, both) == ("/", "/agent.0", ["/~run_sync.0", "/~run_sync.1"])


def test_threads_are_named_by_their_target_or_class(root: Scope) -> None:
    seen: list[str] = []

    def target() -> None:
        seen.append(path())

    class Own(threading.Thread):
        def run(self) -> None:
            target()

    with entered(root):
        made: list[threading.Thread] = [
            threading.Thread(target=target),
            Own(),
            threading.Thread(target=contextvars.copy_context().run, args=(target,)),
        ]
        for thread in made:
            thread.start()
            thread.join()
            with pytest.raises(RuntimeError):
                thread.start()
    own, name = Own.__qualname__, target.__qualname__
    assert seen == [f"/~{name}.0", f"/~{own}.0", f"/~{name}.1"]
    assert root.counters() == {f"~{name}": 2, f"~{own}": 1}


def test_a_coroutine_sent_to_a_loop_from_a_thread_is_a_branch_of_that_threads_scope(
    root: Scope,
) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def send() -> list[str]:
        futures = [asyncio.run_coroutine_threadsafe(where(), loop) for _ in range(3)]
        return [f.result() for f in reversed(futures)]

    with entered(root), ThreadPoolExecutor(1) as pool:
        got = pool.submit(contextvars.copy_context().run, send).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert got == [f"/~{send.__qualname__}.0/~where.{n}" for n in (2, 1, 0)]


def test_what_a_live_call_starts_inside_itself_lies_under_it() -> None:
    core = Core(trace_id("tests", "branches"))
    live = core.begin(core.root, Call(NodeType.TOOL, "tool"), 0)
    assert isinstance(live, Live)
    with entered(live.inside), ThreadPoolExecutor(1) as pool:
        assert pool.submit(path).result() == f"/{live.key}/~path.0"
    assert core.root.counters() == {}


async def test_the_end_of_a_task_and_of_work_is_told_with_its_error(root: Scope) -> None:
    ends: list[tuple[str, str]] = []
    root.on_end = lambda scope, error: ends.append((scope.path, type(error).__name__))

    async def fail() -> None:
        raise ValueError

    with entered(root):
        await asyncio.gather(fail(), where(), return_exceptions=True)
        waiting = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        with pytest.raises(ValueError, match="invalid literal"):
            await asyncio.to_thread(int, "x")
    assert ends == [
        (f"/~{fail.__qualname__}.0", "ValueError"),
        ("/~where.0", "NoneType"),
        ("/~sleep.0", "CancelledError"),
        ("/~int.0", "ValueError"),
    ]


async def test_the_end_of_a_task_is_told_before_who_awaits_it_goes_on(root: Scope) -> None:
    ends: list[str] = []
    root.on_end = lambda scope, _error: ends.append(scope.path)
    with entered(root):
        await asyncio.create_task(where())
        assert ends == ["/~where.0"]


async def test_a_stop_at_the_end_of_a_branch_does_not_break_who_cannot_take_it(root: Scope) -> None:
    def refuse(_scope: Scope, _error: BaseException | None) -> None:
        raise Divergence("changed")

    root.on_end = refuse
    with entered(root):
        assert await asyncio.create_task(where()) == "/~where.0"
        assert await asyncio.to_thread(path) == "/~path.0"
        with pytest.raises(Divergence), branch("alice"):
            pass


async def test_an_error_that_nobody_took_is_still_reported_by_asyncio(root: Scope) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context["message"]))

    async def fail() -> None:
        raise ValueError

    with entered(root):
        task = asyncio.create_task(fail())
        await asyncio.wait([task])
        del task
    assert reported == ["Task exception was never retrieved"]


async def test_a_name_by_hand_takes_the_place_of_the_ordinal(root: Scope) -> None:
    async def named(name: str) -> str:
        with branch(name):
            return path()

    with entered(root):
        assert list(await asyncio.gather(named("bob"), named("alice"))) == ["/@bob", "/@alice"]
        with branch("carol") as carol:
            assert carol is not None
            with branch("carol"):
                assert path() == "/@carol/@carol"
        with branch("carol"):
            assert path() == "/@carol#1"
    with branch("nobody") as scope:
        assert scope is None


async def test_a_name_by_hand_lies_under_the_ordinal_once_that_has_calls(root: Scope) -> None:
    async def named() -> str:
        scope = current()
        assert scope is not None
        scope.occurrence("PROMPT", "think", "", "")
        with branch("alice"):
            return path()

    with entered(root):
        assert await asyncio.create_task(named()) == f"/~{named.__qualname__}.0/@alice"


def forked(tell: Callable[[], str]) -> str:
    """Return what `tell` says in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, tell().encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def test_a_forked_child_is_a_branch_and_its_parent_stays_where_it_was(root: Scope) -> None:
    with entered(root):
        assert forked(path) == "/~fork.0"
        assert forked(lambda: forked(path)) == "/~fork.1/~fork.0"
        assert path() == "/"
    assert forked(path) == ""


def test_what_opentelemetry_puts_around_the_work_of_a_pool_names_no_branch() -> None:
    def work() -> None:
        """What the pool is given."""

    def wrap(original_func: Any) -> Any:
        def wrapped_func() -> Any:
            return original_func()

        wrapped_func.__module__ = "opentelemetry.instrumentation.threading"
        return wrapped_func

    assert label_of(wrap(work)) == label_of(work)
    assert label_of(wrap(contextvars.Context().run), (work,)) == label_of(work)

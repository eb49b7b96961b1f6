"""LivespanSaver over a real collector: durable, readable at once, append-only, and no run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from tests.livespan_home import LiveHome, wait_until

import livespan.instrumentation as ls
from livespan.instrumentation import LivespanSaver
from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.saver import thread_log
from livespan.instrumentation.saver.thread_state import Place
from livespan.proto.errors import InvalidInput, LeaseLost, Unavailable
from livespan.proto.rpc import open_channel
from livespan.proto.span import export_request
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub, RecoveryStub

CONFIG: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


def checkpoint_of(saver: LivespanSaver, values: dict[str, Any], version: str | None = None) -> tuple[Checkpoint, Any]:
    """Return a checkpoint with these values, all of a new version, and these versions."""
    made = empty_checkpoint()
    versions = {channel: saver.get_next_version(version, None) for channel in values}
    made["channel_values"] = values
    made["channel_versions"] = versions  # type: ignore[typeddict-item]  # a dict of texts is one of versions
    return made, versions


def put(saver: LivespanSaver, values: dict[str, Any], config: Any = CONFIG, **metadata: Any) -> Any:
    made, versions = checkpoint_of(saver, values)
    told: Any = {"source": "loop", "step": 0, "parents": {}, **metadata}
    return saver.put(config, made, told, versions)


def values_of(saver: LivespanSaver, config: Any = CONFIG) -> dict[str, Any] | None:
    found = saver.get_tuple(config)
    return found.checkpoint["channel_values"] if found is not None else None


def rows(live: LiveHome, sql: str) -> Any:
    """Return the rows of a statement, as a person gets them."""
    done = live.start("-m", "livespan.collector", "sql", sql, "-o", "json")
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    return json.loads(out)


def thread_config(name: str) -> Any:
    return {"configurable": {"thread_id": name, "checkpoint_ns": ""}}


def test_what_was_put_is_found_after_collector_and_process_are_killed(live: LiveHome) -> None:
    live.serve_process()
    saver = LivespanSaver(home=live.home.root)
    first = put(saver, {"messages": ["hello" * 5000], "n": 1})
    saver.put_writes(first, [("messages", "more")], "task-1")
    live.kill("collector")
    program = (
        "from livespan.instrumentation import LivespanSaver\n"
        "found = LivespanSaver().get_tuple({'configurable': {'thread_id': 't'}})\n"
        "print(found.checkpoint['channel_values']['messages'] == ['hello' * 5000], found.pending_writes)\n"
    )
    done = live.program(program)
    assert done.stdout.split("\n")[0] == "True [('task-1', 'messages', 'more')]", done.stderr


def test_what_is_published_is_read_by_a_process_that_never_saw_it(live: LiveHome) -> None:
    saver = LivespanSaver(home=live.home.root)
    config, messages = CONFIG, list[str]()
    for number in range(30):
        messages = [*messages, f"{number} " * 400]
        config = put(saver, {"messages": messages, "n": number}, config)
    stop(live)
    assert list((live.home.lake / "content").glob("part-*.parquet"))
    fresh = LivespanSaver(home=live.home.root)
    assert values_of(fresh) == {"messages": messages, "n": 29}
    config = put(fresh, {"messages": [*messages, "one more"], "n": 30}, config)
    assert [each.checkpoint["channel_values"]["n"] for each in fresh.list(CONFIG)] == list(range(30, -1, -1))
    assert values_of(saver) == {"messages": [*messages, "one more"], "n": 30}, "and by one that saw the beginning"


def stop(live: LiveHome) -> None:
    """End the collector as a person does; all is published then."""
    done = live.start("-m", "livespan.collector", "stop")
    done.communicate(timeout=60)
    wait_until(lambda: not live.pids("collector"))


def test_a_channel_that_did_not_change_is_not_stored_again(shared: LiveHome) -> None:
    saver = LivespanSaver(home=shared.home.root)
    config = thread_config("same")
    made, versions = checkpoint_of(saver, {"big": "x" * 50_000, "n": 1})
    metadata: Any = {"source": "loop", "step": 0, "parents": {}}
    config = saver.put(config, made, metadata, versions)
    for number in range(2, 5):
        following = empty_checkpoint()
        following["channel_values"] = {"big": "x" * 50_000, "n": number}
        versions = {**versions, "n": saver.get_next_version(versions["n"], None)}
        following["channel_versions"] = versions
        config = saver.put(config, following, metadata, {"n": versions["n"]})
    with saver._threads.reading("same") as state:  # pyright: ignore[reportPrivateUsage]  # to look inside, or to hold it up there
        assert state.size_bytes < 60_000
    assert values_of(saver, config) == {"big": "x" * 50_000, "n": 4}


def test_a_checkpoint_takes_writes_along_that_are_under_way(shared: LiveHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """langgraph#8039: a checkpoint that is found without the writes before it makes a task run twice."""
    saver = LivespanSaver(home=shared.home.root)
    config = put(saver, {"n": 1}, thread_config("order"))
    held, under_way = threading.Event(), threading.Event()
    send = thread_log.ThreadLog._send  # pyright: ignore[reportPrivateUsage]  # to look inside, or to hold it up there

    def slow(self: thread_log.ThreadLog, spans: Any, thread_id: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            under_way.set()
            assert held.wait(20)
        send(self, spans, thread_id)

    monkeypatch.setattr(thread_log.ThreadLog, "_send", slow)
    writing = threading.Thread(target=saver.put_writes, args=(config, [("n", 2)], "task"))
    writing.start()
    assert under_way.wait(20)
    put(saver, {"n": 2}, config)
    other = LivespanSaver(home=shared.home.root)
    found = other.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [("task", "n", 2)]
    held.set()
    writing.join()
    found = other.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [("task", "n", 2)], "that came twice and is one"


def test_a_collector_that_is_away_is_said_and_nothing_is_lost(live: LiveHome, monkeypatch: pytest.MonkeyPatch) -> None:
    live.serve()
    saver = impatient(live)
    config = put(saver, {"n": 1})
    away = live.inside
    away.stop()
    monkeypatch.setattr("livespan.instrumentation.connection.ensure", nobody)
    with pytest.raises(Unavailable, match="collector that keeps the threads"):
        saver.put_writes(config, [("n", 2)], "task")
    with pytest.raises(Unavailable, match="collector that keeps the threads"):
        put(saver, {"n": 2}, config)
    with pytest.raises(Unavailable, match="collector that keeps the threads"):
        saver.get_tuple(CONFIG)
    monkeypatch.undo()
    live.serve()
    newest = put(saver, {"n": 3}, config)
    found = LivespanSaver(home=live.home.root).get_tuple(config)
    assert found is not None
    assert found.pending_writes == [("task", "n", 2)], "they went with the next checkpoint"
    assert values_of(saver) == {"n": 3}
    assert values_of(saver, newest) == {"n": 3}


def nobody(*_: object) -> str:
    raise Unavailable("nobody is there")


def impatient(live: LiveHome) -> LivespanSaver:
    saver = LivespanSaver(home=live.home.root)
    settings = saver._threads._settings  # pyright: ignore[reportPrivateUsage]  # to look inside, or to hold it up there
    object.__setattr__(settings, "unreachable_s", 0.3)
    return saver


def test_two_processes_write_to_one_thread_and_each_checkpoint_is_found_with_its_values(live: LiveHome) -> None:
    """langgraph#8796."""
    live.serve_process()
    program = (
        "import sys\n"
        "from tests.instrumentation.test_langgraph_saver import put, thread_config\n"
        "from livespan.instrumentation import LivespanSaver\n"
        "saver, config, messages = LivespanSaver(), thread_config('both'), []\n"
        "sys.stdin.readline()\n"
        "for number in range(40):\n"
        "    messages = [*messages, f'{sys.argv[1]} {number} ' * 50]\n"
        "    config = put(saver, {'messages': messages}, config)\n"
        "    saver.put_writes(config, [('messages', f'{sys.argv[1]} {number}')], f'task-{sys.argv[1]}-{number}')\n"
        "    print(config['configurable']['checkpoint_id'], flush=True)\n"
    )
    writers = {name: live.start("-c", program, name) for name in ("a", "b")}
    for writer in writers.values():
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    told = {name: writer.communicate(timeout=120) for name, writer in writers.items()}
    saver = LivespanSaver(home=live.home.root)
    assert len(list(saver.list(thread_config("both")))) == 80
    for name, (out, err) in told.items():
        ids = out.split()
        assert len(ids) == 40, err
        for number, checkpoint_id in enumerate(ids):
            config: Any = {"configurable": {"thread_id": "both", "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}
            found = saver.get_tuple(config)
            assert found is not None
            messages = [f"{name} {each} " * 50 for each in range(number + 1)]
            assert found.checkpoint["channel_values"] == {"messages": messages}
            assert found.pending_writes == [(f"task-{name}-{number}", "messages", f"{name} {number}")]
            parent = found.parent_config.get("configurable", {})["checkpoint_id"] if found.parent_config else None
            assert parent == (ids[number - 1] if number else None)


def test_what_is_deleted_is_not_returned_and_sql_says_so(live: LiveHome) -> None:
    saver = LivespanSaver(home=live.home.root)
    for thread in ("gone", "half", "kept"):
        config = thread_config(thread)
        for number in range(3):
            config = put(saver, {"n": number}, config, run_id=f"{thread}-{number}")
    saver.delete_thread("gone")
    saver.prune(["half"])
    saver.delete_for_runs(["kept-1"])
    told = [
        [row["thread_id"], row["deleted"], row["n"]]
        for row in rows(live, "SELECT thread_id, deleted, count(*) AS n FROM checkpoints GROUP BY ALL ORDER BY ALL")
    ]
    expected = [["gone", True, 3], ["half", False, 1], ["half", True, 2], ["kept", False, 2], ["kept", True, 1]]
    assert told == expected
    stop(live)
    fresh = LivespanSaver(home=live.home.root)
    assert [len(list(fresh.list(thread_config(thread)))) for thread in ("gone", "half", "kept")] == [0, 1, 2]
    assert len(list(fresh.list(None))) == 3
    put(fresh, {"n": 7}, thread_config("gone"))
    assert values_of(fresh, thread_config("gone")) == {"n": 7}, "and the thread may begin again"


def test_a_thread_is_no_run(live: LiveHome) -> None:
    saver = LivespanSaver(home=live.home.root)
    live.serve()
    put(saver, {"n": 1}, thread_config("order-17"))
    assert_no_run(live)
    live.inside.stop()
    live.serve()
    assert_no_run(live)
    assert rows(live, "SELECT thread_id, deleted FROM checkpoints")[0] == {"thread_id": "order-17", "deleted": False}


def assert_no_run(live: LiveHome) -> None:
    assert live.inside.context.list_runs("").runs == []
    assert rows(live, "SELECT count(*) AS n FROM runs")[0]["n"] == 0
    with open_channel(live.inside.context.target) as channel:
        desk, query = RecoveryStub(channel), QueryStub(channel)
        assert not desk.Interrupted(pb.InterruptedRequest()).runs
        for name in ("order-17", "thread:order-17"):
            run = pb.RunRef(project="default", run_id=name)
            assert not json.loads(desk.Plan(pb.PlanRequest(run=run)).json)["found"]
            assert not desk.Standing(pb.StandingRequest(run=run)).attempts
            with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
                desk.Cancel(pb.CancelRequest(run=run))
            with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
                query.ShowRun(pb.ShowRunRequest(run=run))


def test_a_run_and_a_thread_may_have_one_name(shared: LiveHome) -> None:
    saver = LivespanSaver(home=shared.home.root)
    with shared.run("one-name"):
        config = put(saver, {"n": 1}, thread_config("one-name"))
    history = shared.inside.history("one-name")
    assert history is not None
    assert history.finished
    assert not history.thread
    assert values_of(saver, config) == {"n": 1}


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="fork beside threads is warned about")
def test_a_forked_child_writes_as_a_writer_of_its_own(live: LiveHome) -> None:
    program = (
        "import os\n"
        "from tests.instrumentation.test_langgraph_saver import put, thread_config\n"
        "from livespan.instrumentation import LivespanSaver\n"
        "saver = LivespanSaver()\n"
        "config = put(saver, {'n': 1}, thread_config('fork'))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    put(saver, {'n': 2}, config)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "put(saver, {'n': 3}, config)\n"
        "print(sorted(each.checkpoint['channel_values']['n'] for each in saver.list(thread_config('fork'))))\n"
    )
    done = live.program(program)
    assert done.stdout.split("\n")[0] == "[1, 2, 3]", done.stderr


def test_a_run_that_is_named_as_a_thread_still_needs_its_lease(live: LiveHome) -> None:
    live.serve()
    run = pb.RunRef(project="default", run_id="thread:t")
    threads = LivespanSaver(home=live.home.root)._threads  # pyright: ignore[reportPrivateUsage]  # to make a record
    record = threads._span("t", "writes", Place("", "c"), b"")  # pyright: ignore[reportPrivateUsage]  # as above
    client = CollectorClient(live.inside.context.target)
    with pytest.raises(LeaseLost):
        client.intend(run, 1, export_request([record]), 5.0)
    assert client.append_thread(run, export_request([record])) == 0
    client.close()


def test_a_new_home_in_the_place_of_the_old_one_begins_a_thread_anew(live: LiveHome) -> None:
    live.serve()
    saver = LivespanSaver(home=live.home.root)
    config = put(saver, {"big": "x" * 5000})
    assert values_of(saver) == {"big": "x" * 5000}
    live.inside.stop()
    for folder in ("log", "lake"):
        shutil.rmtree(live.home.root / folder)
    live.home.create()
    live.serve()
    assert values_of(saver) is None
    put(saver, {"big": "x" * 5001}, config)
    assert values_of(LivespanSaver(home=live.home.root)) == {"big": "x" * 5001}


def test_a_config_without_a_thread_is_refused(shared: LiveHome) -> None:
    saver = LivespanSaver(home=shared.home.root)
    with pytest.raises(InvalidInput, match="names no thread"):
        saver.get_tuple({"configurable": {}})
    with pytest.raises(InvalidInput, match="no strategy"):
        saver.prune(["t"], strategy="some")


async def test_its_work_is_nobodys_branch(shared: LiveHome) -> None:
    saver = LivespanSaver(home=shared.home.root)
    with shared.run("beside"):
        config = await asyncio.to_thread(put, saver, {"n": 1}, thread_config("beside"))
        made, versions = checkpoint_of(saver, {"n": 2})
        await saver.aput(config, made, {"source": "loop", "step": 1, "parents": {}}, versions)
        assert await saver.aget_tuple(thread_config("beside")) is not None
    history = shared.inside.history("beside")
    assert history is not None
    assert [record.name for record, _ in history.calls.values() if "saver" in record.name.lower()] == []


def test_two_hundred_turns_of_a_kilobyte_take_less_than_a_megabyte(live: LiveHome) -> None:
    saver = LivespanSaver(home=live.home.root)
    config, messages = CONFIG, list[str]()
    for _ in range(200):
        messages = [*messages, os.urandom(512).hex()]
        config = put(saver, {"messages": messages}, config)
    stop(live)
    published = sum([file.stat().st_size for file in Path(live.home.lake).glob("*/*.parquet")])
    assert published < 1_000_000
    assert values_of(LivespanSaver(home=live.home.root)) == {"messages": messages}


def test_it_is_looked_up_where_it_is_used() -> None:
    assert ls.LivespanSaver is LivespanSaver

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from tests.collector.stand import Writer, node, request
from tests.livespan_home import Inside, LiveHome, wait_until
from tests.power_cut import FailingDisk

from livespan.collector.listening import Listen
from livespan.collector.seams import Seams
from livespan.collector.server import Collector
from livespan.collector.settings import CollectorSettings
from livespan.instrumentation.client import CollectorClient
from livespan.proto.errors import HomeHeld, InvalidInput, Unavailable
from livespan.proto.home import Home
from livespan.proto.rendezvous import ensure, is_served, locate

LATE = CollectorSettings(publish_s=60.0)


def send(target: str, *numbers: int) -> None:
    writer = Writer(name=f"w{numbers}")
    client = CollectorClient(target)
    client.export(
        request(*[span for number in numbers for span in (writer.started(node(number)), writer.ended(node(number)))])
    )
    client.close()


def calls(live: LiveHome) -> int:
    history = live.inside.history("order-17", "shop")
    return len(history.calls) if history is not None else 0


def test_a_home_has_one_collector(live: LiveHome) -> None:
    live.serve()
    with pytest.raises(HomeHeld) as held:
        Inside(live.home, LATE)
    assert f"pid {os.getpid()}" in held.value.message
    assert "livespan stop" in held.value.hint
    second = live.start("-m", "livespan.collector", "serve", "--home", str(live.home.root))
    _, err = second.communicate(timeout=20)
    assert (second.returncode, "serves this home already" in err) == (5, True)
    live.inside.stop()
    live.serve()


@pytest.mark.parametrize("address", ["0.0.0.0:4317", "192.168.1.1:4317", "example.com:4317", "[::]:4317"])
def test_addresses_that_others_reach_are_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="loopback") as refused:
        Listen(grpc_address=address)
    assert refused.value.hint


def test_an_address_that_is_taken_is_told_and_the_home_is_free_again(live: LiveHome) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match="listened") as refused:
            Inside(live.home, LATE, grpc_address=address)
    assert refused.value.subject == address
    assert not is_served(live.home)
    assert locate(live.home) is None
    live.serve(LATE)


def test_a_restart_brings_back_what_the_log_holds_and_the_lake_does_not(live: LiveHome) -> None:
    process = live.serve_process("--publish-s", "600")
    send(ensure(live.home), 1, 2, 3)
    process.kill()
    process.communicate()
    live.serve(LATE)
    assert calls(live) == 3
    send(live.inside.collector.target, 4)
    assert calls(live) == 4


def test_sigterm_publishes_all_and_withdraws_the_address(live: LiveHome) -> None:
    process = live.serve_process("--publish-s", "600")
    send(ensure(live.home), 1, 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert (process.returncode, live.home.address.exists(), is_served(live.home)) == (0, False, False)
    import duckdb

    with duckdb.connect() as connection:
        connection.execute((live.home.lake / "views.sql").read_text())
        assert connection.execute("SELECT count(*) FROM nodes WHERE run_id = 'order-17'").fetchone() == (2,)


def test_a_collector_whose_disk_failed_leaves_to_be_started_again(live: LiveHome) -> None:
    disk = FailingDisk()

    async def life() -> None:
        collector = Collector(live.home, LATE, seams=Seams(disk=disk))
        await collector.start()
        try:
            await asyncio.to_thread(send, collector.target, 1)
            disk.failing.add("sync_file")
            with pytest.raises(Unavailable, match="could not be written"):
                await asyncio.to_thread(send, collector.target, 2)
            with pytest.raises(Unavailable, match="opened anew"):
                await asyncio.wait_for(collector.serve(asyncio.Event()), 20)
        finally:
            disk.failing.clear()
            await collector.close()

    asyncio.run(life())
    send(live.serve().collector.target, 3)
    assert calls(live) >= 2


def test_an_idle_embedded_collector_leaves_and_a_busy_one_does_not(
    live: LiveHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[tuple[float, bool]] = []
    is_idle = Collector._is_idle  # pyright: ignore[reportPrivateUsage]  # when it looks cannot be seen from outside

    def noted(collector: Collector) -> bool:
        untouched_s = time.monotonic() - collector._active_s  # pyright: ignore[reportPrivateUsage]  # as above
        found = is_idle(collector)
        looks.append((untouched_s, found))
        return found

    monkeypatch.setattr(Collector, "_is_idle", noted)
    live.serve(CollectorSettings(idle_s=0.3))
    with live.run("busy"):
        wait_until(lambda: any(untouched_s > 0.3 for untouched_s, _ in looks))
        assert not any(found for _, found in looks)
        assert not live.inside.ended
    live.forget_connections()
    wait_until(lambda: live.inside.ended)
    assert not is_served(live.home)


def test_a_home_too_deep_for_a_socket_gets_one_elsewhere(live: LiveHome) -> None:
    deep = Home(live.folder / ("d" * 60) / ("e" * 60))
    runtime = live.folder / "runtime"
    served = Inside(deep, LATE, runtime_folder=runtime)
    try:
        target = ensure(deep)
        assert target.startswith(f"unix:{runtime}/livespan-")
        send(target, 1)
        path = Path(target.removeprefix("unix:"))
        assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    finally:
        served.stop()


def test_two_that_start_a_collector_at_once_find_the_same_one(live: LiveHome) -> None:
    source = """
import os
from pathlib import Path
from livespan.proto.home import Home
from livespan.proto.rendezvous import ensure, locate
home = Home(Path(os.environ["LIVESPAN_HOME"]))
ensure(home)
print(locate(home).pid)
"""
    both = [live.start("-W", "error", "-c", source) for _ in range(3)]
    told = [process.communicate(timeout=40) for process in both]
    assert len({out for out, _ in told}) == 1, told
    assert [err for _, err in told] == ["", "", ""]
    wait_until(lambda: len(live.pids("collector")) == 1)


def test_a_collector_on_its_way_out_is_waited_for_and_followed(live: LiveHome) -> None:
    process: subprocess.Popen[str] = live.serve_process()
    first = process.pid
    process.send_signal(signal.SIGTERM)
    target = ensure(live.home)
    process.communicate(timeout=20)
    address = locate(live.home)
    if address is None or address.pid == first:  # it was found in its last moment: whoever asks next gets another
        target = ensure(live.home)
        address = locate(live.home)
    assert address is not None
    assert (address.target, address.pid != first) == (target, True)

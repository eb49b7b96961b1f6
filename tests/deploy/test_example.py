"""What the images run, run here as processes."""

from __future__ import annotations

import signal

import pytest
from tests.deploy.manifests import DEPLOY
from tests.livespan_home import LiveHome, wait_until

pytestmark = pytest.mark.outside

AGENT = str(DEPLOY / "example" / "agent.py")


def test_the_example_agent_is_killed_and_goes_on_without_charging_twice(live: LiveHome) -> None:
    live.serve()
    told = {"LIVESPAN_ENDPOINT": f"unix:{live.home.root}/collector.sock"}  # as all the manifests have it
    first = live.start(AGENT, environment={**told, "PAUSE_S": "30"})
    assert first.stdout is not None
    assert first.stdout.readline() == "order 0 needs one charge\n"
    first.kill()
    first.communicate()
    second = live.start(AGENT, environment={**told, "PAUSE_S": "0"})
    out, err = second.communicate(timeout=30)
    assert (second.returncode, out.count("charged")) == (0, 3), err
    third = live.start(AGENT, environment={**told, "PAUSE_S": "0"})
    assert third.communicate(timeout=30)[0] == out
    charges = [record for record in live.records("example-orders") if record.name == "charge"]
    assert len({record.node_id for record in charges}) == 3


def test_the_probe_says_live_and_ready_and_when_it_is_not(live: LiveHome) -> None:
    def probe(word: str) -> int:
        process = live.start("-W", "error", "-m", "livespan.collector.probe", word)
        process.communicate(timeout=30)
        return process.returncode

    assert [probe("live"), probe("ready"), probe("sideways")] == [1, 1, 2]
    collector = live.serve_process()
    assert [probe("live"), probe("ready")] == [0, 0]
    collector.send_signal(signal.SIGKILL)
    collector.communicate()
    wait_until(lambda: probe("live") == 1)


def test_a_collector_that_hangs_is_not_live(live: LiveHome) -> None:
    from livespan.collector.probe import probe

    collector = live.serve_process()
    assert probe(live.home) == (True, True)
    collector.send_signal(signal.SIGSTOP)
    try:
        assert probe(live.home, timeout_s=0.5) == (False, False)
    finally:
        collector.send_signal(signal.SIGCONT)

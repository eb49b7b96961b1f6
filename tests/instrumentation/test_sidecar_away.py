"""Agents that can start no collector, as an image without its packages, and whose sidecar is away for a moment."""

from __future__ import annotations

import signal

from tests.livespan_home import LiveHome

LIGHT = """
import importlib.util, sys, time
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "duckdb" else find_spec(name, package)
import livespan.instrumentation as ls
from livespan.proto.errors import CollectorMissing

@ls.tool
def charge(cents):
    return cents

began_s = time.monotonic()
try:
    with ls.run("light"):
        for cents in range(3):
            print("charged", charge(cents), flush=True)
            sys.stdin.readline()
except CollectorMissing:
    print("CollectorMissing", time.monotonic() - began_s < 5.0)
"""


def test_a_run_is_opened_and_gone_on_with_when_the_sidecar_is_back(live: LiveHome) -> None:
    collector = live.serve_process()
    collector.send_signal(signal.SIGKILL)
    collector.communicate()
    agent = live.start("-c", LIGHT)
    collector = live.serve_process()  # it is up only now
    assert agent.stdout is not None
    assert agent.stdin is not None
    assert agent.stdout.readline() == "charged 0\n"
    collector.send_signal(signal.SIGKILL)
    collector.communicate()
    agent.stdin.write("go on\n")
    agent.stdin.flush()
    live.serve_process()
    assert agent.stdout.readline() == "charged 1\n"
    out, err = agent.communicate("go on\n", timeout=30)
    assert (agent.returncode, out) == (0, "charged 2\n"), err


def test_where_no_collector_ever_served_the_home_it_is_said_at_once(live: LiveHome) -> None:
    out, err = live.start("-c", LIGHT).communicate(timeout=30)
    assert out == "CollectorMissing True\n", err

"""A LangGraph agent with LivespanSaver, killed between its steps together with the collector: what was acknowledged is
there, and the graph goes on behind it.
"""

from __future__ import annotations

import signal

import pytest
from tests.livespan_home import LiveHome

from livespan.instrumentation import LivespanSaver

pytestmark = pytest.mark.crash

_AGENT = """
import operator, os, sys
from typing import Annotated, TypedDict
from langgraph.graph import END, START, StateGraph
from livespan.instrumentation import LivespanSaver

class Notes(TypedDict):
    notes: Annotated[list[str], operator.add]

def step(number):
    def run(state):
        print(f"step {number}", flush=True)
        if number == int(sys.argv[1]):
            sys.stdin.readline()
        return {"notes": [f"note {number} " * 300]}
    return run

builder = StateGraph(Notes)
for number in range(6):
    builder.add_node(f"s{number}", step(number))
    builder.add_edge(f"s{number - 1}" if number else START, f"s{number}")
saver = LivespanSaver()
graph = builder.compile(checkpointer=saver)
config = {"configurable": {"thread_id": "killed"}}
value = None if saver.get_tuple(config) else {"notes": ["begin"]}
done = graph.invoke(value, config, durability="sync")
print(f"ended with {len(done['notes'])}", flush=True)
"""


def test_an_agent_and_its_collector_killed_between_steps_go_on_behind_the_last(live: LiveHome) -> None:
    ran: list[str] = []
    for place in range(6):
        agent = live.start("-c", _AGENT, str(place))
        assert agent.stdout is not None
        while (line := agent.stdout.readline().strip()) != f"step {place}":
            assert line, agent.communicate()[1]
            ran.append(line)
        ran.append(line)
        agent.send_signal(signal.SIGKILL)
        agent.wait(20)
        live.kill("collector")
        found = LivespanSaver(home=live.home.root).get_tuple({"configurable": {"thread_id": "killed"}})
        assert found is not None
        assert len(found.checkpoint["channel_values"]["notes"]) == place + 1, "what was done before is there"
    last = live.start("-c", _AGENT, "-1")
    out, err = last.communicate(timeout=60)
    assert "ended with 7" in out, err
    # Each step was entered in the life that was killed in it, and once more in the next: none that was done runs again.
    assert ran == [f"step {number}" for place in range(6) for number in range(max(place - 1, 0), place + 1)]

"""The same agent under each convention's own instrumentation, sent by the stock exporter to a real collector, is the
run that our own instrumentation records of it: the same steps, names, models, tokens and tool arguments. It is so
while the spans are hot, and it is so once they are published.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from tests.frameworks.golden_foreign import CONVENTIONS, run_program
from tests.frameworks.weather_agent import ANSWER, MODEL, ask_agent
from tests.frameworks.weather_script import weather_script
from tests.livespan_home import LiveHome, wait_until

import livespan.instrumentation as ls
from livespan.collector.query.shapes import RunSummary, ShownNode, ShownRun
from livespan.collector.settings import CollectorSettings
from livespan.instrumentation.frameworks import uninstrument
from livespan.proto.rpc import open_channel
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub
from livespan.replay.testing import ModelServer

pytestmark = pytest.mark.outside

CALLS = ("PROMPT", "TOOL", "MEMORY")
OWN = "weather-by-ourselves"
ARGUMENTS = {"city": "Paris", "days": 2}


class Weather:
    """A collector that listens for OTLP, what was sent to it by each convention, and what we recorded ourselves."""

    def __init__(self, live: LiveHome, query: QueryStub) -> None:
        self.live = live
        self._query = query

    def runs(self, project: str) -> list[RunSummary]:
        return msgspec.json.decode(
            self._query.ListRuns(pb.ListRunsRequest(project=project)).json, type=list[RunSummary]
        )

    def show(self, project: str, run_id: str) -> ShownRun:
        run = pb.RunRef(project=project, run_id=run_id)
        return msgspec.json.decode(self._query.ShowRun(pb.ShowRunRequest(run=run)).json, type=ShownRun)

    def only(self, project: str, *, nodes: int = 3) -> ShownRun:
        """Return the one run of a project that has this many nodes."""
        [run] = [run for run in self.runs(project) if run.nodes == nodes]
        return self.show(project, run.run_id)

    def sql(self, statement: str) -> list[list[Any]]:
        replies = self._query.Sql(pb.SqlRequest(sql=statement))
        return [row for reply in replies for row in json.loads(reply.rows or b"[]")]


@pytest.fixture(scope="module")
def weather() -> Iterator[Weather]:
    live = LiveHome()
    try:
        served = live.serve(CollectorSettings(publish_s=3600), grpc_address="127.0.0.1:0")
        endpoint = f"http://{served.collector.grpc_address}"
        with ModelServer(weather_script) as server, open_channel(f"unix:{live.home.root}/collector.sock") as channel:
            ls.instrument(["langgraph"])
            try:
                with live.run(OWN):
                    assert ask_agent(server.base_url) == ANSWER
            finally:
                uninstrument()
            with ThreadPoolExecutor(2) as pool:
                ended = [
                    pool.submit(run_program, convention, program, server.base_url, endpoint)
                    for convention in CONVENTIONS
                    for program in ("agent", "client", "both")
                ]
            for one in ended:
                one.result()
            yield Weather(live, QueryStub(channel))
    finally:
        live.close()


@pytest.fixture(scope="module", params=["hot", "published"])
def there(weather: Weather, request: pytest.FixtureRequest) -> Weather:
    """All of it, hot first, and then published."""
    if request.param == "published":
        inside = weather.live.inside
        publisher = inside.collector._publisher  # pyright: ignore[reportPrivateUsage]  # a test looks inside
        publisher.publish_once(last=True)
        wait_until(lambda: len(inside.collector._hot) == 0)  # pyright: ignore[reportPrivateUsage]  # as above
    return weather


def step(node: ShownNode) -> dict[str, object]:
    """Return what must be the same of a step, whoever watched it."""
    told: dict[str, object] = {
        "type": node.type,
        "name": node.name,
        "status": node.status,
        "model": node.model,
        "tokens": [node.tokens.input, node.tokens.output, node.tokens.cache_read or 0, node.tokens.reasoning or 0],
        "tool": node.tool_name,
        "call id": node.tool_call_id,
    }
    if node.type == "TOOL":
        told["arguments"] = json.loads(bytes(node.input))
        told["tokens"] = None
    return told


def steps(shown: ShownRun) -> list[dict[str, object]]:
    return [step(node) for node in shown.nodes if node.type in CALLS]


@pytest.mark.parametrize("program", ["agent", "both"])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_an_agent_is_the_same_chain_as_we_record_of_it(there: Weather, convention: str, program: str) -> None:
    own = steps(there.show("default", OWN))
    assert [(one["type"], one["name"]) for one in own] == [
        ("PROMPT", MODEL),
        ("TOOL", "get_weather"),
        ("PROMPT", MODEL),
    ]
    assert own[1]["arguments"] == ARGUMENTS
    shown = there.only(f"{convention}-{program}")
    assert steps(shown) == own
    [root] = [node for node in shown.nodes if node.type == "BRANCH"]
    assert root.parent_id == ""
    assert {node.parent_id for node in shown.nodes if node is not root} == {root.node_id}
    assert not any(node.effect for node in shown.nodes), "whether their tool changed the world nobody knows"


@pytest.mark.parametrize("program", ["agent", "both"])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_runs_and_tables_count_what_we_count(there: Weather, convention: str, program: str) -> None:
    [own] = there.runs("default")
    [run] = [run for run in there.runs(f"{convention}-{program}") if run.nodes > 1]
    assert (run.status, run.nodes, run.effects) == ("done", 3, 0)
    assert (run.input_tokens, run.output_tokens) == (own.input_tokens, own.output_tokens)
    of_run = f"FROM nodes WHERE run_id = '{run.run_id}' AND type = 'TOOL'"
    [[name, call_id, given, output]] = there.sql(f"SELECT tool_name, tool_call_id, input, output {of_run}")
    [[issued]] = there.sql(f"SELECT issued FROM llm_calls WHERE run_id = '{run.run_id}' AND issued IS NOT NULL")
    assert (name, json.loads(given), json.loads(output)) == ("get_weather", ARGUMENTS, "57F in Paris for 2 days")
    assert json.loads(issued) == [call_id]
    assert there.sql(f"SELECT count(*), sum(input_tokens) FROM llm_calls WHERE run_id = '{run.run_id}'") == [
        [2, own.input_tokens]
    ]


def test_a_call_that_two_instrumentations_saw_is_two_spans(there: Weather) -> None:
    [run] = [run for run in there.runs("openinference-both") if run.nodes > 1]
    seen = "SELECT framework, count(*) FILTER (echo), count(*) FROM nodes"
    assert there.sql(f"{seen} WHERE run_id = '{run.run_id}' AND type = 'PROMPT' GROUP BY ALL ORDER BY ALL") == [
        ["langchain", 0, 2],
        ["openai", 2, 2],
    ]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_plain_client_is_a_prompt_that_answered_and_one_that_failed(there: Weather, convention: str) -> None:
    runs = [there.show(run.project, run.run_id) for run in there.runs(f"{convention}-client")]
    [[answered], [refused]] = [shown.nodes for shown in sorted(runs, key=lambda shown: shown.run.status)]
    assert (answered.type, answered.model, answered.provider) == ("PROMPT", MODEL, "openai")
    assert (answered.tokens.input, answered.tokens.output) == (8, 10)
    assert (refused.type, refused.status, refused.model) == ("PROMPT", "FAILED", MODEL)
    assert refused.error is not None
    assert refused.error.type.endswith("BadRequestError")
    assert "tool_calls" in refused.error.message

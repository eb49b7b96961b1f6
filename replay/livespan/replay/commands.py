"""`livespan demo`: kill agents half way, watch them come back, and count."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from livespan.collector.options import OutputForm, output_option
from livespan.collector.render import print_json, print_jsonl
from livespan.proto.clock import random_hex
from livespan.proto.errors import CollectorMissing
from livespan.proto.home import Home

__all__ = ["demo"]

# What the extra `demo` brings, by import name: the collector's, and ours. tests/replay/test_demo_needs.py holds it.
_NEEDED: Final = ("deltalake", "duckdb", "google.rpc", "grpc_health", "pyarrow", "pytz", "rich")
_NEEDED_BY_LANGGRAPH: Final = ("langchain", "langchain_core", "langchain_openai", "langgraph", "pydantic")


@click.command(short_help="Kill agents half way and watch them come back.")
@click.option(
    "--sabotage",
    type=click.Choice(["spool", "intent", "lease"]),
    help="Take one protection away; the demo must then fail, with exit code 1.",
)
@click.option(
    "--agent",
    "agents",
    type=click.Choice(["decorated", "langgraph"]),
    multiple=True,
    help="Only this agent. [default: both; with --sabotage the decorated one]",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Play in this home. [default: a new one under the temp folder]",
)
@output_option
@click.pass_context
def demo(
    context: click.Context, output: OutputForm, sabotage: str | None, agents: tuple[str, ...], home: Path | None
) -> None:
    """Kill agents with SIGKILL before, inside and after they charge a card, start them again, and count.

    Two agents, one of decorated functions and one of LangGraph, run against a model and a payment provider that are
    processes of their own and count what they are asked for. Nothing leaves this machine. The home is left to be
    looked at.

    \b
      livespan demo
      livespan demo --sabotage spool          what an ordinary batch exporter loses
      livespan demo -o json | jq '.scenarios[] | {agent, crash_at, charges, llm_calls_live}'

    JSON is {ok, scenarios: [{agent, crash_at, policy, charges, charge_tries, llm_calls_live, llm_calls_ideal, in_doubt,
    recovered, recover_ms, ...}], lake, sabotage, home}; JSONL has a scenario a line. Exit code 1: a promise was broken.
    """
    started_s = time.monotonic()
    from livespan.replay.demo.sabotage import Sabotage
    from livespan.replay.demo.scenarios import AgentKind, scenarios

    without = Sabotage(sabotage or "none")
    cast = [AgentKind(agent) for agent in agents] or ([AgentKind.DECORATED] if sabotage else list(AgentKind))
    _check_installed(langgraph=AgentKind.LANGGRAPH in cast)
    from livespan.replay.demo.performance import perform
    from livespan.replay.demo.showing import Silent, Teller, show_end, show_start

    stage, suffix = _home(home)
    if output is OutputForm.TEXT:
        show_start(str(stage.root), without)
    audience = Teller() if output is OutputForm.TEXT else Silent()
    report = perform(stage, scenarios(cast), audience, suffix=suffix, sabotage=without)
    match output:
        case OutputForm.TEXT:
            show_end(report, started_s)
        case OutputForm.JSON:
            print_json(report)
        case OutputForm.JSONL:
            print_jsonl(report.scenarios)
    context.exit(0 if report.ok else 1)


def _home(given: Path | None) -> tuple[Home, str]:
    """Return the home to play in and what makes run ids new in it."""
    if given is not None:
        return Home(given.expanduser().absolute()), f"-{random_hex(2)}"
    return Home(Path(tempfile.mkdtemp(prefix="livespan-demo-"))), ""


def _check_installed(*, langgraph: bool) -> None:
    """Raise CollectorMissing with the line to paste where a package is not there."""
    needed = (*_NEEDED, *(_NEEDED_BY_LANGGRAPH if langgraph else ()))
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise CollectorMissing(f"not installed: {', '.join(missing)}", hint="pip install 'livespan[demo]'")

"""`livespan run -- python agent.py` with an agent that does not know of Livespan."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.livespan_home import ROOT, LiveHome

from livespan.instrumentation.at_import import environment
from livespan.replay.testing import ModelServer, order_script

RUN = ("-m", "livespan.collector", "run", "--backoff-s", "0.05")
AGENT = str(ROOT / "tests" / "recovery" / "unchanged_agent.py")


@pytest.mark.crash
def test_an_agent_that_says_nothing_goes_on_where_it_was_killed(shared: LiveHome, tmp_path: Path) -> None:
    with ModelServer(order_script, random_ids=True) as server:
        agent = (sys.executable, AGENT, server.labelled_url("order") + "/v1", str(tmp_path))
        process = shared.start(*RUN, "--id", "unchanged", "--", *agent)
        out, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
        assert "order-17 is paid: charged 4200" in out
        assert (tmp_path / "died").exists()
        assert (tmp_path / "charges").read_text() == "4200\n"
        assert server.counts("order").answers == 3
        again = shared.start(*RUN, "--id", "unchanged", "--", *agent)
        assert again.communicate(timeout=90)[0] == out
        assert server.counts("order").answers == 3


@pytest.mark.crash
def test_another_sitecustomize_is_imported_too(shared: LiveHome, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.another = 'here'\n")
    program = "import sys, wrapt; print(another, [p for p in sys.path if 'livespan' in p and p.endswith('site')])"
    process = shared.start(
        *RUN, "--id", "two", "--", sys.executable, "-c", program, environment={"PYTHONPATH": str(tmp_path)}
    )
    assert process.communicate(timeout=60)[0] == "here []\n"


def test_a_path_that_is_there_already_stays_behind_ours() -> None:
    once = environment({"PYTHONPATH": os.pathsep.join(["/a", "/b"])})["PYTHONPATH"]
    assert once.split(os.pathsep)[1:] == ["/a", "/b"]
    assert environment({"PYTHONPATH": once})["PYTHONPATH"] == once

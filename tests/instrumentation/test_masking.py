from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path

import pytest
from tests.livespan_home import LiveHome

import livespan.instrumentation as ls
from livespan.instrumentation import said_once
from livespan.instrumentation.masking import PLACEHOLDER, Field, Mask, Masked, Masking, load_mask
from livespan.instrumentation.settings import agent_settings
from livespan.proto import attributes as names
from livespan.proto.errors import Divergence, InvalidInput, RecordedError, RunStopped, Unrecordable
from livespan.proto.record import Record

SECRET = "4242-4242-4242-4242"
ran: list[object] = []
seen: list[Masked] = []


def hide(text: str, where: Masked) -> str:
    seen.append(where)
    return re.sub(r"4242(-4242){3}", "****", text)


def break_json(text: str, where: Masked) -> str:
    del where
    return text[:-1]


def fail(text: str, where: Masked) -> str:
    raise RuntimeError(f"{text} of {where}")


def give_none(text: str, where: Masked) -> str:
    del text, where
    return None  # type: ignore[return-value]  # what is tested


class Declined(Exception):
    pass


@ls.tool
def charge(card: str) -> str:
    ran.append(card)
    return f"paid with {card}"


@ls.step
def think(question: str) -> str:
    ran.append(question)
    ls.annotate(model="m", metadata={"asked": question})
    return "an answer"


@ls.step
def decline(card: str) -> str:
    raise Declined(f"{card} was declined")


@ls.step(mask_output=True)
def look_up(patient: str) -> str:
    ran.append(patient)
    return f"the card of {patient} is {SECRET}" if patient == "ann" else "no card"


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()
    seen.clear()
    said_once._said.clear()  # pyright: ignore[reportPrivateUsage]  # as in a process of its own


def masked(live: LiveHome, run_id: str, mask: Mask | None = hide) -> ls.Run:
    return ls.run(run_id, home=live.home.root, mask=mask)


def stored(live: LiveHome, run_id: str) -> list[Record]:
    """Return the records of a run, those of its lives among them."""
    history = live.inside.history(run_id)
    assert history is not None
    return [*live.records(run_id), *history.attempts]


def holds(live: LiveHome, run_id: str, text: str) -> list[str]:
    """Return the names of the attributes, of any record, that hold a text."""
    return [
        f"{record.name}: {name}"
        for record in stored(live, run_id)
        for name, value in record.attributes.items()
        if text in str(value)
    ]


def on_disk(live: LiveHome, text: str) -> list[Path]:
    """Return the files of the home, spool and log among them, that hold a text."""
    found: list[Path] = []
    for folder, _, files in os.walk(live.home.root):
        for path in [Path(folder, name) for name in files]:
            with suppress(OSError):  # drained and removed meanwhile; sockets
                if path.is_file() and text.encode() in path.read_bytes():
                    found.append(path)
    return found


def test_inputs_are_masked_before_they_are_spooled_and_the_call_is_the_same(live: LiveHome) -> None:
    live.serve()
    with masked(live, "inputs"):
        assert think(f"pay with {SECRET}") == "an answer"
    assert ran == [f"pay with {SECRET}"], "the step itself sees what it is given"
    assert on_disk(live, SECRET) == []
    assert set(holds(live, "inputs", "****")) == {"think: livespan.metadata", "think: livespan.input"}
    assert {where.field for where in seen} == {Field.INPUT, Field.METADATA}
    for mask in (hide, None):
        with masked(live, "inputs", mask) as run:
            assert think(f"pay with {SECRET}") == "an answer"
            assert (run.reused, run.executed) == (1, 0), "a key does not depend on the mask"
    with pytest.raises(RunStopped), masked(live, "inputs"):
        think("pay with 4242-4242-4242-4243")


def test_a_result_is_given_back_as_it_was_and_is_not_shown_to_the_mask(live: LiveHome) -> None:
    live.serve()
    for life in range(2):
        with masked(live, "results") as run:
            assert charge(SECRET) == f"paid with {SECRET}"
            assert run.reused == life
    assert Field.OUTPUT not in {where.field for where in seen}
    assert holds(live, "results", SECRET) == ["charge: gen_ai.tool.call.result"]


def test_an_error_keeps_its_type_and_is_given_back_masked(live: LiveHome) -> None:
    live.serve()
    with masked(live, "errors"), pytest.raises(Declined, match=SECRET):
        decline(SECRET)
    assert on_disk(live, SECRET) == []
    with masked(live, "errors") as run:
        with pytest.raises((Declined, RecordedError), match=r"\*\*\*\* was declined") as given:
            decline(SECRET)
        assert run.reused == 1
    name = given.value.type_name if isinstance(given.value, RecordedError) else type(given.value).__name__
    assert name.endswith("Declined")


def test_an_error_that_ends_the_run_is_masked_on_its_root_too(live: LiveHome) -> None:
    live.serve()
    with pytest.raises(Declined), masked(live, "ends"):
        decline(SECRET)
    assert on_disk(live, SECRET) == []


def test_what_a_divergence_says_is_masked(live: LiveHome) -> None:
    live.serve()
    with masked(live, "diverged"):
        think(f"one {SECRET}")
    with pytest.raises(RunStopped) as stopped, masked(live, "diverged"):
        think(f"two {SECRET}")
    assert isinstance(stopped.value.cause, Divergence)
    assert "one ****" in stopped.value.message
    assert "two ****" in stopped.value.message
    assert SECRET not in str(stopped.value)


def test_a_masked_result_cannot_be_gone_past_on_resume(live: LiveHome) -> None:
    live.serve()
    with masked(live, "outputs"):
        assert look_up("bob") == "no card"
        assert look_up("ann").endswith(SECRET), "this life has it as it is"
    assert on_disk(live, SECRET) == []
    with masked(live, "outputs"):
        assert look_up("bob") == "no card", "what the mask left as it was is an answer"
        with pytest.raises(Unrecordable, match="was masked"):
            look_up("ann")
    assert ran == ["bob", "ann"], "it is neither asked again nor answered with something else"


def test_a_call_that_is_to_be_masked_is_not_made_without_a_mask(live: LiveHome) -> None:
    live.serve()
    with live.run("without"), pytest.raises(InvalidInput, match="has no mask"):
        look_up("ann")
    assert ran == []


@pytest.mark.parametrize("mask", [fail, give_none, break_json])
def test_a_mask_that_fails_lets_nothing_through(live: LiveHome, mask: Mask, capsys: pytest.CaptureFixture[str]) -> None:
    live.serve()
    with masked(live, "failing", mask):
        think(SECRET)
        assert look_up("ann").endswith(SECRET)
        with pytest.raises(Declined):
            decline(SECRET)
    assert SECRET not in capsys.readouterr().err
    if mask is not break_json:
        assert on_disk(live, SECRET) == []
    [record] = {
        r.node_id: r for r in live.records("failing") if r.name == "think" and names.INPUT in r.attributes
    }.values()
    assert json.loads(record.text(names.INPUT)) == PLACEHOLDER
    with masked(live, "failing", mask) as run:
        assert (think(SECRET), run.reused) == ("an answer", 1)
        with pytest.raises(Unrecordable):
            look_up("ann")
        with pytest.raises((Declined, RecordedError)):
            decline(SECRET)


def test_a_failing_mask_is_said_once_by_the_name_of_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    masking = Masking(fail)
    for _ in range(3):
        assert masking.text(SECRET, Field.ERROR, "think") == PLACEHOLDER
    [line] = capsys.readouterr().err.splitlines()
    assert "RuntimeError" in line
    assert SECRET not in line


def test_what_a_mask_makes_of_text_that_utf8_cannot_hold_is_still_json() -> None:
    assert json.loads(Masking(lambda text, where: '"\ud800"').json(b'"a"', Field.INPUT, "think")) == "?"


PROGRAM = f"""
import livespan.instrumentation as ls

@ls.step
def think(question):
    return "an answer"

with ls.run("by environment"):
    think("{SECRET}")
"""


def test_the_environment_names_a_mask_for_programs_and_their_command_lines(live: LiveHome) -> None:
    live.serve()
    environment = {"LIVESPAN_MASK": "tests.instrumentation.test_masking:hide"}
    done = live.program(PROGRAM, environment)
    assert done.returncode == 0, done.stderr
    assert holds(live, "by environment", SECRET) == [], "its argv, which holds the program, is masked as well"
    assert "attempt 1: livespan.attempt.argv" in holds(live, "by environment", "****")
    done = live.program(PROGRAM, {"LIVESPAN_MASK": "tests.instrumentation.test_masking:nothing"})
    assert done.returncode != 0, "a run that was to be masked does not open without its mask"
    assert "cannot be loaded" in done.stderr


@pytest.mark.parametrize("path", ["nowhere:mask", "json:nothing", "json", ":", "json:__name__"])
def test_a_mask_that_cannot_be_loaded_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        agent_settings({"LIVESPAN_MASK": path})
    assert load_mask("") is None


def test_instrument_says_the_mask_of_runs_that_say_none(live: LiveHome) -> None:
    live.serve()
    ls.instrument(frameworks=[], mask=hide)
    try:
        with live.run("instrumented"):
            think(SECRET)
    finally:
        ls.uninstrument()
    assert on_disk(live, SECRET) == []
    with live.run("no more"):
        think(SECRET)
    assert on_disk(live, SECRET) != []

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.certificate import make_certificate
from tests.collector.stand import Stand, Writer, node
from tests.livespan_home import LiveHome, wait_until

from livespan.collector.notice_output import Apart, HomeFile, JsonLines, NoticeForm, TextLines, send_notices
from livespan.collector.notices import FACTS, Notices, Seldom
from livespan.proto.rendezvous import ensure


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("livespan").level)
    exporters = logging.getLogger("opentelemetry.exporter")
    handlers, propagate = list(exporters.handlers), exporters.propagate
    yield
    for handler in [handler for handler in root.handlers if handler not in before[0]]:
        handler.close()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    logging.getLogger("livespan").setLevel(before[2])
    exporters.handlers[:], exporters.propagate = handlers, propagate


def record(event: str, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("livespan.publisher", logging.WARNING, "", 0, event, None, None)
    made.created = 1_769_850_000.25
    setattr(made, FACTS, facts)
    return made


def test_a_line_of_json_has_the_event_and_its_facts() -> None:
    line = JsonLines().format(record("publication failed", error="no space\nleft", records=7, level="mine"))
    assert json.loads(line) == {
        "time": "2026-01-31T09:00:00.250Z",
        "level": "warning",
        "component": "publisher",
        "event": "publication failed",
        "error": "no space\nleft",
        "records": 7,
    }
    assert "\n" not in line


def test_a_line_of_text_stays_one_line_whatever_a_fact_holds() -> None:
    line = TextLines().format(record("lease died", run="a\nb\x1b[31m", epoch=2, hint=""))
    assert line == '2026-01-31T09:00:00.250Z warning publisher: lease died run=a\\nb\\x1b[31m epoch=2 hint=""'


def test_what_happens_very_often_is_told_seldom_with_its_number(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("livespan.collector.notices.time.monotonic", lambda: now[0])
    seldom = Seldom(Notices("intake"), pause_s=10.0)
    for _ in range(1000):
        seldom.warning("full", "requests are refused", reason="full")
    seldom.warning("other", "requests are refused", reason="other")
    now[0] += 10.0
    seldom.warning("full", "requests are refused", reason="full")
    facts = [getattr(each, FACTS) for each in caplog.records]
    assert facts == [
        {"reason": "full", "times": 1},
        {"reason": "other", "times": 1},
        {"reason": "full", "times": 1000},
    ]


def test_the_file_in_the_home_stays_within_its_bound_and_takes_stdout_along(tmp_path: Path) -> None:
    path = tmp_path / "collector.log"
    code = f"""
import os, sys, logging
from contextlib import suppress
from pathlib import Path
from livespan.collector.notice_output import HomeFile
handler = HomeFile(Path({str(path)!r}), max_bytes=2000, old_files=2)
logging.getLogger().addHandler(handler)
for number in range(300):
    logging.getLogger().warning("line %d of many", number)
print("printed after the file was turned over", flush=True)
"""
    with path.open("w") as output:
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, stdout=output, stderr=output)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["collector.log", "collector.log.1", "collector.log.2"]
    assert all(file.stat().st_size <= 2100 for file in files)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().splitlines()[-1] == "printed after the file was turned over"


def test_a_link_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "collector.log").symlink_to(tmp_path / "victim")
    handler = HomeFile(tmp_path / "collector.log")
    with pytest.raises(OSError, match="symbolic link"):
        handler._open()  # pyright: ignore[reportPrivateUsage]  # logging would print the error and go on
    assert not (tmp_path / "victim").exists()


@pytest.mark.usefixtures("own_logging")
def test_other_libraries_are_heard_from_warnings_on(tmp_path: Path) -> None:
    path = tmp_path / "out.log"
    send_notices(NoticeForm.JSON, "info", path)
    Notices("publisher").debug("not told")
    Notices("publisher").info("told")
    logging.getLogger("asyncio").info("not told")
    logging.getLogger("asyncio").warning("told too")
    logging.getLogger("opentelemetry.exporter.otlp").error("said by a notice of ours")
    logging.getLogger().handlers[-1].close()
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert events == ["told", "told too"]


class Stuck(logging.Handler):
    """A pipe that nobody reads until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.go_on.wait(20)
        self.lines.append(TextLines().format(record).partition("Z ")[2])


def test_who_tells_does_not_wait_for_a_pipe_that_nobody_reads() -> None:
    stuck = Stuck()
    apart = Apart(stuck, waiting=10)
    for _ in range(1000):
        apart.handle(record("one line"))
    assert stuck.lines == [], "one that had waited would have waited until something was read"
    stuck.go_on.set()
    wait_until(lambda: len(stuck.lines) >= 11)
    apart.handle(record("the last"))
    apart.close()
    assert any(line.startswith("warning notices: lines were dropped lines=9") for line in stuck.lines)
    assert stuck.lines[-1] == "warning publisher: the last"


def test_serve_tells_its_life_as_json(live: LiveHome) -> None:
    process = live.serve_process("--log-format", "json", "--publish-s", "0.1")
    with live.run("order-17"):
        pass
    process.terminate()
    _, err = process.communicate(timeout=20)
    lines = [json.loads(line) for line in err.splitlines()]
    events = [line["event"] for line in lines]
    assert events[0] == "serving"
    assert lines[0]["home"] == str(live.home.root)
    assert [event for event in events if event.startswith("lease")] == ["lease granted", "lease released"]
    assert [event for event in events if event.startswith("drain")] == ["drain begun", "drain ended"]
    assert events[-1] == "drain ended"
    assert lines[-1]["unpublished_records"] == 0


def test_who_knocks_with_the_wrong_protocol_leaves_no_line_of_another_form(live: LiveHome, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    words = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tls-cert", str(certificate), "--tls-key", str(key))
    process = live.serve_process("--log-format", "json", *words)
    address = json.loads(live.home.address.read_bytes())
    for port in (address["grpc"], address["http"].removeprefix("https://")):
        host, _, number = port.rpartition(":")
        with socket.create_connection((host, int(number)), timeout=10) as knocking:
            knocking.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with suppress(ConnectionError):
                knocking.recv(100)
    process.terminate()
    _, err = process.communicate(timeout=20)
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert (events[0], events[-1]) == ("serving", "drain ended")


def test_an_embedded_collector_writes_into_its_home(live: LiveHome) -> None:
    ensure(live.home)
    wait_until(lambda: "serving" in live.home.collector_output.read_text())
    assert os.stat(live.home.collector_output).st_mode & 0o777 == 0o600


def test_a_publication_that_fails_is_told_once_and_its_recovery_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path, publish_s=0.01)
    publisher = stand.publisher
    whole: Callable[..., int] = publisher.publish_once
    left = [3]

    def failing(*, last: bool = False) -> int:
        if left[0]:
            left[0] -= 1
            raise OSError(28, "No space left on device")
        return whole(last=last)

    monkeypatch.setattr(publisher, "publish_once", failing)
    caplog.set_level(logging.INFO, "livespan")
    writer = Writer()
    stand.send(writer.started(node(1)), writer.ended(node(1)))
    publisher.start()
    wait_until(lambda: any("recovered" in each.getMessage() for each in caplog.records))
    publisher.close()
    stand.crash()
    told = [each.getMessage() for each in caplog.records if each.name == "livespan.publisher"]
    assert told == ["publication failed", "publication recovered"]

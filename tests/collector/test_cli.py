from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import grpc
import msgspec
import pytest
from tests.collector.query_server import serving
from tests.collector.recorded import FixedLake, RunBuilder, interrupted_run

from livespan.collector.cli import livespan, run_command
from livespan.collector.query.engine import QueryLimits
from livespan.proto.errors import (
    Conflict,
    Damaged,
    InDoubt,
    Internal,
    InvalidInput,
    LivespanError,
    NotFound,
    Unavailable,
)
from livespan.proto.home import Home
from livespan.proto.process import this_process
from livespan.proto.record import Record
from livespan.proto.rendezvous import PROTOCOL_VERSION, Address
from livespan.proto.rpc import open_channel, translate
from livespan.proto.v1.livespan_pb2 import ListRunsRequest
from livespan.proto.v1.livespan_pb2_grpc import QueryStub

HEAVY = ("grpc", "duckdb", "pyarrow", "deltalake", "rich", "opentelemetry")
COMMAND = [sys.executable, "-m", "livespan.collector"]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIVESPAN_HOME", "LIVESPAN_ENDPOINT", "LIVESPAN_PROJECT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    records: list[Record] = []
    interrupted_run(records)
    other = RunBuilder(records, "order-18")
    other.open_root()
    other.call("think")
    other.end_root()
    with serving(FixedLake(records), tmp_path) as served:
        yield served.target


@pytest.fixture
def web() -> Iterator[str]:
    """A plain web server, which knows no page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    answering = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    answering.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    answering.join()
    server.server_close()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command(livespan, arguments)
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["runs", "show", "--help"], ["sql", "--help"], ["run", "--help"], ["--version"]]
)
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom livespan.collector.cli import livespan, run_command\n"
        f"code = run_command(livespan, {arguments})\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\nassert not heavy, heavy\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_the_module_is_the_command() -> None:
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("livespan ")


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [(["runs", "list"], 3), (["runs", "show", "x"], 3), (["sql", "SELECT 1"], 3), (["stop"], 0), (["doctor"], 0)],
)
def test_no_command_makes_a_home_out_of_a_mistyped_path(
    command: list[str], exit_code: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = tmp_path / "typo" / "home"
    code, out, err = run(capsys, *command, "--home", str(missing), "-o", "json")
    assert code == exit_code
    assert not out if exit_code else json.loads(out)
    assert str(missing) in out + err
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_no_home_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "runs", "list", "--home", str(tmp_path))[0] == 3
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Internal("x"), 1),
        (InvalidInput("x"), 2),
        (NotFound("x"), 3),
        (Unavailable("x"), 4),
        (Conflict("x"), 5),
        (InDoubt("x"), 5),
        (Damaged("x"), 6),
        (click.UsageError("x"), 2),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_every_error_has_its_exit_code(error: BaseException, code: int) -> None:
    program = subprocess.run(
        [sys.executable, "-c", RAISING, type(error).__module__, type(error).__name__, str(error)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (program.returncode, program.stdout) == (code, "")
    assert "Traceback" not in program.stderr


RAISING = """
import sys, importlib, click
from livespan.collector.cli import livespan, run_command
error = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
@click.command()
def broken():
    raise error(*sys.argv[3:4]) if sys.argv[3] else error()
livespan.add_command(broken)
sys.exit(run_command(livespan, ["broken"]))
"""


def test_an_error_is_said_with_its_subject_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def broken() -> None:
        raise LivespanError("it broke", subject="run 7", hint="Mend it.")

    assert run_command(broken, []) == 1
    assert capsys.readouterr().err == "livespan: run 7: it broke\n  Mend it.\n"


def test_runs_are_listed_as_text_json_and_jsonl(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "runs", "list", "--endpoint", endpoint)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["RUN", "order-18", "order-17"]
    assert "in doubt (1)" in out
    document = json.loads(run(capsys, "runs", "list", "--endpoint", endpoint, "-o", "json")[1])
    assert [one["run_id"] for one in document] == ["order-18", "order-17"]
    lines = run(capsys, "runs", "list", "--endpoint", endpoint, "-o", "jsonl")[1].splitlines()
    assert [json.loads(line) for line in lines] == document


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), ["order-18", "order-17"]),
        (("--status", "in_doubt"), ["order-17"]),
        (("--status", "done"), ["order-18"]),
        (("--status", "waiting"), []),
        (("--session", "chat-9"), ["order-17"]),
        (("--session", "chat"), []),
        (("--tag", "tier=gold"), ["order-17"]),
        (("--tag", "tier=gold", "--tag", "tier=gold"), ["order-17"]),
        (("--tag", "tier=gold", "--tag", "shop=north"), []),
        (("--tag", "tier=gold", "--session", "chat-9", "--status", "in_doubt", "--limit", "1"), ["order-17"]),
        (("--tag", "tier="), []),
        (("--limit", "1"), ["order-18"]),
        (("--limit", "1", "--status", "in_doubt"), ["order-17"]),
    ],
)
def test_runs_are_listed_by_status_tag_and_session(
    endpoint: str, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], found: list[str]
) -> None:
    code, out, _ = run(capsys, "runs", "list", "--endpoint", endpoint, "-o", "json", *options)
    assert (code, [one["run_id"] for one in json.loads(out)]) == (0, found)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--status", "finished"), "'finished' is not one of"),
        (("--tag", "tier"), "is not KEY=VALUE"),
        (("--tag", "=gold"), "is not KEY=VALUE"),
        (("--tag", "tier=gold", "--tag", "tier=iron"), "tier is given twice"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(
    endpoint: str, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    code, out, err = run(capsys, "runs", "list", "--endpoint", endpoint, *options)
    assert (code, out, said in err) == (2, "", True)


def test_a_status_that_is_none_is_refused_by_the_service_too(endpoint: str) -> None:
    with open_channel(endpoint) as channel, pytest.raises(grpc.RpcError) as refused:
        QueryStub(channel).ListRuns(ListRunsRequest(status="finished"), timeout=10)
    told = translate(refused.value)
    assert isinstance(told, InvalidInput)
    assert "interrupted" in told.hint


def test_without_runs_the_text_teaches_and_the_json_is_empty(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with serving(FixedLake(), tmp_path) as served:
        code, out, err = run(capsys, "runs", "list", "--endpoint", served.target)
        assert (code, out) == (0, "")
        assert "livespan demo" in err
        assert json.loads(run(capsys, "runs", "list", "--endpoint", served.target, "-o", "json")[1]) == []


@pytest.mark.parametrize(
    ("named", "found"), [("order-17", "order-17"), ("order-18", "order-18"), ("@last", "order-18")]
)
def test_a_run_may_be_named_by_id_or_as_the_last(
    endpoint: str, capsys: pytest.CaptureFixture[str], named: str, found: str
) -> None:
    code, out, _ = run(capsys, "runs", "show", named, "--endpoint", endpoint, "-o", "json")
    assert code == 0
    assert json.loads(out)["run"]["run_id"] == found


def test_a_run_without_a_name_is_asked_for(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "runs", "show", "", "--endpoint", endpoint)
    assert (code, out) == (2, "")
    assert err.startswith("livespan: no run is named\n")


def test_a_run_may_be_named_by_a_unique_beginning_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    records: list[Record] = []
    for run_id in ("alpha", "alphabet", "beta"):
        RunBuilder(records, run_id).call("think")
    with serving(FixedLake(records), tmp_path) as served:
        where = ("--endpoint", served.target)
        assert run(capsys, "runs", "show", "b", *where)[1].startswith("beta")
        assert run(capsys, "runs", "show", "alpha", *where)[1].startswith("alpha ")
        code, out, err = run(capsys, "runs", "show", "alph", *where)
        assert (code, out) == (2, "")
        assert "2 runs are named so" in err
        assert run(capsys, "runs", "show", "gamma", *where)[0] == 3


def test_doubt_is_shown_with_a_command_for_the_same_collector(
    endpoint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run(capsys, "runs", "show", "order-17", "--endpoint", endpoint)[1]
    assert f"livespan resolve --endpoint {endpoint} order-17 " in out
    monkeypatch.setenv("LIVESPAN_ENDPOINT", endpoint)
    assert "livespan resolve order-17 " in run(capsys, "runs", "show", "order-17")[1]


@pytest.mark.parametrize(("settled", "code"), [("not_done", 5), ("done", 0)])
@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_a_run_with_a_conflict_is_shown_and_leaves_by_exit_code_5(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, settled: str, code: int, form: str
) -> None:
    records: list[Record] = []
    build = RunBuilder(records, "order-17")
    charge = build.start("charge", effect=True)
    build.settle(charge, settled, output='"ok"')
    build.end(charge)
    with serving(FixedLake(records), tmp_path) as served:
        left, out, _ = run(capsys, "runs", "show", "order-17", "--endpoint", served.target, "-o", form)
    assert left == code
    assert "charge" in out


@pytest.mark.parametrize(
    ("settled", "said"), [("not_done", "settled: not done (resolve)"), ("done", "settled: done (res")]
)
def test_a_settled_effect_says_how_it_was_settled_and_by_whom(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, settled: str, said: str
) -> None:
    records: list[Record] = []
    build = RunBuilder(records, "order-17")
    build.settle(build.start("charge", effect=True), settled, output='"ok"')
    build.call("think")
    with serving(FixedLake(records), tmp_path) as served:
        lines = run(capsys, "runs", "show", "order-17", "--endpoint", served.target)[1].splitlines()
    [charge] = [line for line in lines if "charge" in line]
    [thought] = [line for line in lines if "think" in line]
    assert said in charge
    assert "settled" not in thought


def test_a_shown_run_as_jsonl_is_the_run_and_then_its_nodes(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "runs", "show", "@last", "--endpoint", endpoint, "-o", "jsonl")[1]
    first, *nodes = [json.loads(line) for line in out.splitlines()]
    assert first["run"]["run_id"] == "order-18"
    assert [node["node"]["name"] for node in nodes] == ["order-18", "think"]


def test_sql_prints_rows_as_text_json_and_jsonl(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    statement = "SELECT run_id, nodes, session FROM runs ORDER BY run_id"
    out = run(capsys, "sql", statement, "--endpoint", endpoint)[1]
    assert out.splitlines() == ["run_id    nodes  session", "order-17      6  chat-9", "order-18      2  NULL"]
    document = json.loads(run(capsys, "sql", statement, "--endpoint", endpoint, "-o", "json")[1])
    assert [list(row) for row in document] == [["run_id", "nodes", "session"]] * 2
    lines = run(capsys, "sql", statement, "--endpoint", endpoint, "-o", "jsonl")[1].splitlines()
    assert [json.loads(line) for line in lines] == document


def test_sql_comes_from_stdin(endpoint: str) -> None:
    done = subprocess.run(
        [*COMMAND, "sql", "-", "--endpoint", endpoint, "-o", "jsonl"],
        input="SELECT 1 AS one",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"one": 1}


def test_a_failed_query_prints_nothing_to_stdout(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with serving(FixedLake(), tmp_path, limits=QueryLimits(max_rows=2000)) as served:
        for statement in ("COPY nodes TO '/tmp/x'", "SELECT nope FROM nodes", "FROM range(3000)"):
            code, out, err = run(capsys, "sql", statement, "--endpoint", served.target, "-o", "json")
            assert (code, out) == (2, "")
            assert err.startswith("livespan: sql: ")


def test_a_collector_that_does_not_answer_is_unavailable(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "runs", "list", "--endpoint", f"unix:{tmp_path}/nobody.sock", "-o", "json")
    assert (code, out) == (4, "")
    assert "no collector answers" in err


@pytest.mark.parametrize(
    "words",
    [
        ["sql", "select '\udcff\udcfe'"],
        ["runs", "list", "--tag", "a=\udcff"],
        ["runs", "list", "--session", "\udcff"],
        ["runs", "list", "--project", "\udcff"],
        ["runs", "tail", "\udcff"],
        ["resolve", "order-17", "\udcff", "--not-done"],
        ["run", "--id", "\udcff", "--", "true"],
    ],
)
def test_bytes_that_are_no_utf_8_are_refused_in_one_line(
    endpoint: str, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    program = words.index("--") if "--" in words else len(words)
    code, out, err = run(capsys, *words[:program], "--endpoint", endpoint, *words[program:])
    assert (code, out) == (2, "")
    assert err.endswith(
        ": an argument, the environment or the input has bytes that are no UTF-8\n  Give it in UTF-8.\n"
    )
    assert "\\xff" in err
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize("strict", ["utf-8:strict", "utf-8:surrogateescape"])
def test_a_statement_on_stdin_that_is_no_text_is_refused(endpoint: str, strict: str) -> None:
    done = subprocess.run(
        [*COMMAND, "sql", "-", "--endpoint", endpoint],
        input=b"select '\xd0'",
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": strict},
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no UTF-8" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_letter_that_the_output_cannot_spell_is_told(endpoint: str) -> None:
    done = subprocess.run(
        [*COMMAND, "runs", "show", "order-18", "--endpoint", endpoint],
        capture_output=True,
        text=True,
        encoding="latin-1",
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("livespan: the output's encoding, latin-1, has no ")


@pytest.mark.parametrize(
    "words", [["sql", "SELECT 1"], ["runs", "list"], ["runs", "list", "-o", "json"], ["sql", "FROM range(9000)"]]
)
def test_a_full_disk_under_stdout_is_told_in_one_line(endpoint: str, words: list[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = [*COMMAND, *words, "--endpoint", endpoint]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "livespan: stdout cannot be written: No space left on device\n")


def test_an_error_of_the_system_that_is_not_of_stdout_keeps_its_traceback() -> None:
    @click.command()
    def broken() -> None:
        Path("/nonexistent").read_bytes()

    with pytest.raises(FileNotFoundError):
        run_command(broken, [])


def test_grpc_says_nothing_of_its_own_unless_it_was_asked_to(web: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    told = "import os, sys; sys.stderr.write(os.environ.get('GRPC_VERBOSITY', 'unset') + chr(10))"
    home = str(tmp_path / "home")
    for words, code, said in [
        (["runs", "list", "--endpoint", f"https://{web}"], 4, "No TLS is spoken there"),
        (["serve", "--home", home, "--grpc", web], 4, web),
        (["run", "--home", home, "--id", "x", "--", sys.executable, "-c", told], 0, "unset\n"),
    ]:
        command = [*COMMAND, *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=30, env=environment, stdin=subprocess.DEVNULL
        )
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert ".cc:" not in done.stderr
    assert run_command(livespan, ["stop", "--home", home]) == 0


@pytest.mark.parametrize(
    "endpoint", ["nonsense", "host:", ":4317", "http://host", "host:70000", "host:4317/v1", "http://h:x"]
)
def test_an_endpoint_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], endpoint: str) -> None:
    code, out, err = run(capsys, "runs", "list", "--endpoint", endpoint)
    assert (code, out) == (2, "")
    assert f"'{endpoint}': this is no address of a collector\n  Give HOST:PORT" in err


def test_another_server_than_a_collector_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    untyped: Any = grpc  # its stub leaves the handlers' types open
    server = untyped.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        code, out, err = run(capsys, "runs", "list", "--endpoint", f"127.0.0.1:{port}")
    finally:
        server.stop(None).wait()
    assert (code, out) == (4, "")
    assert "what answers there is no Livespan collector" in err
    assert "UNIMPLEMENTED" not in err


def test_a_web_server_that_speaks_http_2_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    settings, not_found = bytes.fromhex("000000040000000000"), bytes.fromhex("0000010105000000018d")

    def answer(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            connection.sendall(settings)
            asked = b""
            while b"ListRuns" not in asked and len(asked) < 400:
                asked += connection.recv(4096)
            connection.sendall(not_found)
            connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = threading.Thread(target=answer, args=(listening,), daemon=True)
        answering.start()
        code, out, err = run(capsys, "runs", "list", "--endpoint", f"127.0.0.1:{listening.getsockname()[1]}")
        answering.join(10)
    assert (code, out) == (4, "")
    assert "what answers there is no Livespan collector, or one too old for this (it says HTTP 404)" in err


def test_a_reader_who_leaves_early_is_no_failure(endpoint: str) -> None:
    command = [*COMMAND, "sql", "FROM range(200000)", "-o", "jsonl", "--endpoint", endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 141


def test_ctrl_c_ends_a_query_quietly(endpoint: str) -> None:
    slow = "SELECT count(*) FROM range(10000000000) a, range(1000) b"
    with subprocess.Popen(
        [*COMMAND, "sql", slow, "--endpoint", endpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell that starts the tests in the background has them ignore SIGINT, and so their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        # From outside there is nothing to see until it answers, which it never does, but the threads of its channel.
        until_s = time.monotonic() + 20
        while len(os.listdir(f"/proc/{process.pid}/task")) < 4 and time.monotonic() < until_s:
            time.sleep(0.05)
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


COLLECTOR = """
import fcntl, os, signal, sys, time
root, stubborn = sys.argv[1], sys.argv[2] == "stubborn"
descriptor = os.open(root + "/collector.lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
signal.signal(signal.SIGTERM, signal.SIG_IGN if stubborn else lambda *_: sys.exit(0))
print("ready", flush=True)
time.sleep(60)
"""


@contextmanager
def collector_of(home: Home, manner: str = "obliging") -> Generator[subprocess.Popen[bytes]]:
    """A process that holds a home's lock and has announced itself, as a collector does."""
    from livespan.proto.process import start_time_ticks

    home.create()
    command = [sys.executable, "-c", COLLECTOR, str(home.root), manner]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        here = this_process()
        announce(home, process.pid, start_time_ticks(process.pid), here.boot_id, here.pid_namespace)
        try:
            yield process
        finally:
            process.kill()


def announce(home: Home, pid: int, ticks: int, boot_id: str, namespace: int) -> None:
    address = Address(pid, ticks, boot_id, namespace, "host", PROTOCOL_VERSION, "unix:/nowhere")
    home.address.write_bytes(msgspec.json.encode(address))


def test_stop_ends_the_collector_and_waits_for_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with collector_of(home) as process:
        code, out, _ = run(capsys, "stop", "--home", str(home.root), "-o", "json")
        assert (code, json.loads(out)) == (0, {"stopped": True, "pid": process.pid})
        assert process.wait(5) == 0


def test_stop_is_content_where_no_collector_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    code, out, err = run(capsys, "stop", "--home", str(home.root))
    assert (code, out) == (0, "")
    assert "Nothing to stop: no collector runs" in err


def test_stop_is_content_where_there_is_no_home_and_makes_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    code, out, err = run(capsys, "stop", "--home", str(home))
    assert (code, out) == (0, "")
    assert "Nothing to stop: there is no home" in err
    assert json.loads(run(capsys, "stop", "--home", str(home), "-o", "json")[1]) == {"stopped": False, "pid": None}
    assert not home.exists()


def test_stop_never_signals_another_process_that_has_the_pid_now(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    with collector_of(home) as bystander:
        here = this_process()
        announce(home, bystander.pid, 1, here.boot_id, here.pid_namespace)
        assert run(capsys, "stop", "--home", str(home.root), "-o", "json")[0] == 0
        assert bystander.poll() is None


def test_stop_refuses_to_signal_into_another_container(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with collector_of(home) as process:
        announce(home, process.pid, 1, this_process().boot_id, 1)
        assert run(capsys, "stop", "--home", str(home.root))[0] == 5
        assert process.poll() is None


def test_stop_gives_up_waiting_in_its_bound(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with collector_of(home, "stubborn"):
        code, out, err = run(capsys, "stop", "--home", str(home.root), "--timeout", "0.2", "-o", "json")
    assert (code, out) == (4, "")
    assert "still publishing" in err


def test_stop_waits_for_a_collector_that_is_on_its_way_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert run(capsys, "stop", "--home", str(home.root), "--timeout", "0.1")[0] == 4
    os.close(descriptor)
    assert run(capsys, "stop", "--home", str(home.root), "--timeout", "0.1")[0] == 0


@pytest.mark.parametrize(("option", "value"), [("--lease-s", "-1"), ("--lease-s", "0"), ("--publish-s", "-0.1")])
def test_a_time_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    code, _, err = run(capsys, "serve", "--home", str(tmp_path), option, value)
    assert code == 2
    assert option in err
    assert not (tmp_path / "log").exists()


def test_a_collector_is_not_served_at_an_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "serve", "--endpoint", "unix:/nowhere")
    assert code == 2
    assert "--endpoint" in err

"""A small model on 127.0.0.1 that speaks as OpenAI's, Anthropic's and Google's do, for tests and the demo.

    POST /v1/chat/completions   answers by a script (script.py), whole or streamed (chat_wire.py)
    POST /v1/responses          the same, in OpenAI's newer words (responses_wire.py)
    POST /v1/messages           the same, in Anthropic's (anthropic_wire.py)
    POST /v1beta/models/M:...   the same, in Gemini's (gemini_wire.py)
    GET  /v1/models             one model
    GET  /control/counts        {label: {requests, answers, refused, abandoned, held}}
    POST /control/hold          {"label": L, "request": N}: request N (from 1) of L waits
    POST /control/release       {"label": L, "request": N}: it goes on; no "request": all

The label of a request is L where its path begins with `/as/L`, else its header
`x-livespan-conversation`, else its `user` field, else "default". What is counted and held lives in
traffic.py. Limits: it trusts who can reach the port, keeps all counts in memory, and knows no
models, keys or rates.

As a process of its own: `python -m livespan.replay.testing.model_server --port-file F`. It writes
its port to F once it listens and ends with its parent, at the end of its standard input if that
is a pipe, or at its time limit, whichever is first.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self, cast

import msgspec

from livespan.replay.testing import anthropic_wire, chat_wire, gemini_wire, responses_wire
from livespan.replay.testing.chat_wire import ChatRequest, RefusedError, error_body
from livespan.replay.testing.script import Reply, Script, demo_script, order_script, plain_script
from livespan.replay.testing.traffic import Counts, Traffic

__all__ = ["LABEL_HEADER", "ModelServer", "main"]

LABEL_HEADER: Final = "x-livespan-conversation"
DEFAULT_LABEL: Final = "default"
MODEL: Final = "livespan-test-model"
_MAX_BODY_BYTES: Final = 32 * 1024 * 1024
_IDLE_S: Final = 120
_PARENT_LOOK_S: Final = 0.25
_SCRIPTS: Final[dict[str, Script]] = {
    "demo": demo_script,
    "order": order_script,
    "plain": plain_script,
}


class _Answer(Protocol):
    """An answer, ready to be written whole or as a stream."""

    def whole(self) -> bytes: ...

    def events(self) -> Iterator[bytes]: ...


class _MakesAnswers(Protocol):
    def __call__(self, request: ChatRequest, reply: Reply, /, *, random_ids: bool) -> _Answer: ...


class _MakesErrors(Protocol):
    def __call__(self, message: str, /, *, param: str) -> bytes: ...


class _Wire(NamedTuple):
    """How one address reads requests and writes answers and errors."""

    parse: Callable[[bytes], ChatRequest]
    answer: _MakesAnswers
    error: _MakesErrors


_WIRES: Final = {
    "/v1/chat/completions": _Wire(chat_wire.parse_request, chat_wire.answer_for, error_body),
    "/v1/responses": _Wire(responses_wire.parse_request, responses_wire.answer_for, error_body),
    "/v1/messages": _Wire(anthropic_wire.parse_request, anthropic_wire.answer_for, anthropic_wire.error_body),
}


def _wire_of(path: str) -> _Wire | None:
    gemini = gemini_wire.wire_for(path)  # whose paths name the model, and whether the answer is streamed
    if gemini is not None:
        return _Wire(gemini.parse_request, gemini.answer_for, gemini.error_body)
    return _WIRES.get(path)


class _HoldOrder(msgspec.Struct, frozen=True):
    label: str
    request: int | None = None


class ModelServer:
    """A model server on threads of this process. Close it, or use it in a `with`.

    Args:
        script: what it answers.
        random_ids: fresh ids in each answer, as real models give; else digests of the conversation.
        hold_limit_s: how long a held request waits at most; after that its connection is closed.
    """

    def __init__(self, script: Script = demo_script, *, random_ids: bool = False, hold_limit_s: float = 60.0) -> None:
        self.traffic = Traffic(hold_limit_s=hold_limit_s)
        self._http = _Http(script, random_ids=random_ids, traffic=self.traffic)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.05,), name="livespan-model", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._http.server_port

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def labelled_url(self, label: str) -> str:
        """Return the server's address, without `/v1`, whose requests count for a label, whatever their client sends."""
        return f"http://127.0.0.1:{self.port}/as/{label}"

    def counts(self, label: str) -> Counts:
        """Return the counts of one label; zeros where it was never seen."""
        return self.traffic.counts().get(label, Counts())

    def close(self) -> None:
        """Release what is held, stop listening, and end the serving thread."""
        self.traffic.release_all()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, script: Script, *, random_ids: bool, traffic: Traffic) -> None:
        self.script = script
        self.random_ids = random_ids
        self.traffic = traffic
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which can take seconds and is not used.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that dies in the middle of a request is what this server is for; anything else
        # is a defect and is shown.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024

    @property
    def _http(self) -> _Http:
        return cast("_Http", self.server)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Write nothing: tests read standard error."""

    def do_GET(self) -> None:
        if self.path == "/control/counts":
            self._send(200, msgspec.json.encode(self._http.traffic.counts()))
        elif self.path == "/v1/models":
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "livespan"}
            self._send(200, msgspec.json.encode({"object": "list", "data": [model]}))
        else:
            self._send(404, error_body(f"Invalid URL (GET {self.path})"))

    def do_POST(self) -> None:
        self._label, path = _labelled(self.path)
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
            # The body is not read, so the connection cannot be used for another request.
            self.close_connection = True
            self._send(413, error_body("a body needs a content-length of at most 32 MiB"))
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
        elif (wire := _wire_of(path)) is not None:
            self._chat(wire, body)
        elif path in ("/control/hold", "/control/release"):
            self._control(body)
        else:
            self._send(404, error_body(f"Invalid URL (POST {self.path})"))

    def _control(self, body: bytes) -> None:
        traffic = self._http.traffic
        try:
            order = msgspec.json.decode(body, type=_HoldOrder)
        except msgspec.DecodeError as error:
            self._send(400, error_body(str(error)))
            return
        if self.path == "/control/release":
            traffic.release(order.label, order.request)
        elif order.request is None:
            self._send(400, error_body("a hold names a request", param="request"))
            return
        else:
            traffic.hold(order.label, order.request)
        self._send(200, b"{}")

    def _chat(self, wire: _Wire, body: bytes) -> None:
        traffic = self._http.traffic
        header = self._label or self.headers.get(LABEL_HEADER, "")
        try:
            request = wire.parse(body)
        except RefusedError as refused:
            label = header or DEFAULT_LABEL
            traffic.arrive(label)
            traffic.refuse(label)
            self._send(refused.status, wire.error(refused.message, param=refused.param))
            return
        label = header or request.user or DEFAULT_LABEL
        number = traffic.arrive(label)
        if not traffic.wait_for_turn(label, number, self._client_is_gone):
            self.close_connection = True
            return
        reply = self._http.script(request.conversation)
        answer = wire.answer(request, reply, random_ids=self._http.random_ids)
        with traffic.answering(label):
            if self._client_is_gone():
                self.close_connection = True
                raise ConnectionAbortedError(label)
            if request.stream:
                self._stream(answer)
            else:
                self._send(200, answer.whole())

    def _client_is_gone(self) -> bool:
        """Return whether the client has closed its end: one write would still succeed then."""
        # A socket with a timeout waits in recv whatever its flags say, so it is asked first.
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        try:
            peeked: bytes = self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True
        return not peeked

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _stream(self, answer: _Answer) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in answer.events():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            # Each event is its own write, as from a model that is still thinking.
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()


def _labelled(path: str) -> tuple[str, str]:
    """Return the label that a path begins with, "" where it has none, and the path behind it without its query."""
    path = path.partition("?")[0]
    if not path.startswith("/as/"):
        return "", path
    label, _, rest = path.removeprefix("/as/").partition("/")
    return label, f"/{rest}"


def _write_port(path: Path, port: int) -> None:
    """Put the port where a waiting parent looks, all at once."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(f"{port}\n")
    draft.replace(path)


def _wait_for_the_end(parent: int, limit_s: float) -> None:
    """Return when the parent is gone, a piped standard input has ended, or the time is over."""
    deadline = time.monotonic() + limit_s
    watched = [0] if stat.S_ISFIFO(os.fstat(0).st_mode) else []
    while os.getppid() == parent and time.monotonic() < deadline:
        ready, _, _ = select.select(watched, [], [], _PARENT_LOOK_S)
        if ready and not os.read(0, 4096):
            return


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until the parent is gone; see the module's docstring. Returns the exit code."""
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="python -m livespan.replay.testing.model_server")
    parser.add_argument("--port-file", type=Path, required=True, help="written once it listens")
    parser.add_argument("--script", choices=sorted(_SCRIPTS), default="demo")
    parser.add_argument("--random-ids", action="store_true", help="fresh ids, as real models give")
    parser.add_argument("--limit-s", type=float, default=3600.0, help="the longest it lives")
    options = parser.parse_args(argv)
    script: Script = _SCRIPTS[options.script]
    with ModelServer(script, random_ids=options.random_ids) as server:
        _write_port(options.port_file, server.port)
        _wait_for_the_end(parent, options.limit_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())

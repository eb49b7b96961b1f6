"""The model server (model_server.py) as a process of its own, and its controls from outside it.

A crash test kills the agent's process; the model must outlive it and tell afterwards how often it
was asked. So the model gets a process, started by the test or the demo, which ends with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from livespan.proto.errors import Unavailable
from livespan.replay.testing.traffic import Counts

__all__ = ["ModelControl", "ModelProcess"]

_POLL_S: Final = 0.02
_CALL_S: Final = 10.0


class ModelControl:
    """The controls of a model server at a port of 127.0.0.1; each call is one request."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def all_counts(self) -> dict[str, Counts]:
        """Return the counts per label."""
        body = self._call("counts", None)
        return msgspec.json.decode(body, type=dict[str, Counts])

    def counts(self, label: str) -> Counts:
        """Return the counts of one label; zeros where it was never seen."""
        return self.all_counts().get(label, Counts())

    def hold(self, label: str, number: int) -> None:
        """Hold back request `number` (from 1) of the label until it is released."""
        self._call("hold", {"label": label, "request": number})

    def release(self, label: str, number: int | None = None) -> None:
        """Let request `number` go on, or all of the label's."""
        order: dict[str, object] = {"label": label}
        if number is not None:
            order["request"] = number
        self._call("release", order)

    def wait_held(self, label: str, number: int, *, timeout_s: float = 10.0) -> bool:
        """Wait until request `number` has arrived and is held; return whether it is."""
        deadline = time.monotonic() + timeout_s
        while number not in self.counts(label).held:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _call(self, name: str, order: dict[str, object] | None) -> bytes:
        url = f"http://127.0.0.1:{self.port}/control/{name}"
        data = None if order is None else json.dumps(order).encode()
        # The address is our own, on loopback; a proxy of the environment must not be asked for it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, data), timeout=_CALL_S) as answer:
                body: bytes = answer.read()
                return body
        except OSError as error:
            raise Unavailable(f"the model server does not answer: {error}", subject=url) from error


class ModelProcess(ModelControl):
    """A model server in a process of its own, which also ends with the process that started it.

    Close it, or use it in a `with`.

    Args:
        port_file: a path that does not exist yet, in a folder that does.
        script: which of the server's scripts answers.
        random_ids: fresh ids in each answer, as real models give them.
        timeout_s: how long its start may take. Raises Unavailable when it is over.
    """

    def __init__(
        self,
        port_file: Path,
        *,
        script: Literal["demo", "order", "plain"] = "demo",
        random_ids: bool = True,
        timeout_s: float = 20.0,
    ) -> None:
        command = [sys.executable, "-m", "livespan.replay.testing.model_server"]
        command += ["--port-file", str(port_file), "--script", script]
        if random_ids:
            command.append("--random-ids")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            super().__init__(self._wait_for_port(port_file, timeout_s))
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def _wait_for_port(self, port_file: Path, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while not port_file.exists():
            if self._process.poll() is not None:
                code = self._process.returncode
                raise Unavailable(f"the model server ended with {code}", subject=str(port_file))
            if time.monotonic() >= deadline:
                raise Unavailable("the model server did not start", subject=str(port_file))
            time.sleep(_POLL_S)
        return int(port_file.read_text())

    def close(self) -> None:
        """End the server and wait for it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

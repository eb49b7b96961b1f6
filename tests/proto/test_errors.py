"""Errors say what to do, and cross gRPC as themselves."""

from __future__ import annotations

import inspect
from typing import Any

import grpc
import pytest

from livespan.proto import errors
from livespan.proto.errors import (
    EXIT_CODES,
    GRPC_STATUS,
    HTTP_STATUS,
    Divergence,
    ErrorKind,
    InDoubt,
    LivespanError,
    RunStopped,
    Stop,
)
from livespan.proto.rpc import DETAIL_KEY, detail, status_code, translate

ALL = [
    cls
    for cls in vars(errors).values()
    if inspect.isclass(cls) and issubclass(cls, (LivespanError, Stop)) and cls is not RunStopped
]


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_has_a_place_in_every_table(kind: ErrorKind) -> None:
    assert GRPC_STATUS[kind] == status_code(kind).name
    assert 400 <= HTTP_STATUS[kind] < 600
    assert EXIT_CODES[kind] > 0


class Failed(grpc.RpcError, grpc.Call):  # the two faces that a failed call has
    """A failed call as grpc hands it out."""

    def __init__(self, code: grpc.StatusCode, text: str, trailers: tuple[tuple[str, bytes], ...]) -> None:
        self._code, self._text, self._trailers = code, text, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._text

    def trailing_metadata(self) -> Any:
        return self._trailers

    def add_callback(self, callback: object) -> bool:
        raise NotImplementedError

    def cancel(self) -> bool:
        raise NotImplementedError

    def initial_metadata(self) -> Any:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float:
        return 0.0


@pytest.mark.parametrize("cls", ALL)
def test_an_error_comes_out_of_a_call_as_what_it_went_in(cls: type[LivespanError | Stop]) -> None:
    sent = cls("it broke", subject="run x", hint="Mend it.")
    failed = Failed(status_code(sent.kind), sent.message, ((DETAIL_KEY, detail(sent)),))
    got = translate(failed)
    assert type(got) is cls
    assert (got.message, got.subject, got.hint, got.kind) == ("it broke", "run x", "Mend it.", sent.kind)
    assert str(got) == "run x: it broke\n  Mend it."


def test_a_plain_status_becomes_the_error_of_its_kind() -> None:
    got = translate(Failed(grpc.StatusCode.UNAVAILABLE, "no route", ()), subject="unix:/x")
    assert got.kind is ErrorKind.UNAVAILABLE
    assert "doctor" in got.hint


def test_stops_pass_a_frameworks_except_exception() -> None:
    assert not issubclass(InDoubt, Exception)
    assert not issubclass(Divergence, Exception)
    assert issubclass(RunStopped, Exception)
    stopped = RunStopped(InDoubt("x", subject="run 1", hint="resolve"))
    assert stopped.kind is ErrorKind.CONFLICT
    assert stopped.hint == "resolve"

"""How commands reach the collector's services, and which run a person means by `@last` or the beginning of an id."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final, cast

import grpc
import msgspec

from livespan.collector.options import Where
from livespan.proto.errors import Damaged, InvalidInput, NotFound, Unavailable
from livespan.proto.rendezvous import ensure
from livespan.proto.rpc import DETAIL_KEY, open_channel, translate
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub

__all__ = ["LAST", "damage_hint", "find_run", "open_query", "open_target"]

LAST: Final = "@last"
_SHOWN_CANDIDATES: Final = 5
_HTTP_STATUS: Final = "Received http2 header with status"
"""How gRPC begins when an HTTP/2 server answers that speaks no gRPC."""


class _RunName(msgspec.Struct, frozen=True):
    """What of a listed run names it."""

    run_id: str
    project: str


@contextmanager
def open_target(where: Where) -> Generator[grpc.Channel]:
    """Open a channel to the collector, starting the home's own if none runs; failed calls become our errors.

    Raises:
        NotFound: there is no home, so there is nothing to ask.
        Unavailable: no collector answers.
    """
    target = where.endpoint or ensure(where.existing_home())
    with open_channel(target, where.access) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            raise _told(error, target) from error


@contextmanager
def open_query(where: Where) -> Generator[QueryStub]:
    """Open the Query service of the collector; raises what `open_target` does, and what the service answers."""
    with open_target(where) as channel:
        yield QueryStub(channel)


def find_run(query: QueryStub, text: str, project: str = "", *, whole: bool = False) -> pb.RunRef:
    """Return the run that `text` names: an id, `@last` for the newest, or, unless it must be `whole`, a unique prefix.

    Raises:
        NotFound: no run is named so.
        Damaged: none is, and what is left of the lake does not have all.
        InvalidInput: nothing is named, or the prefix, or the id in several projects, names more than one; or it is a
            prefix where it must be whole.
    """
    if not text:
        raise InvalidInput("no run is named", hint="Give an id, the unique beginning of one, or @last.")
    wanted = (
        pb.ListRunsRequest(project=project, limit=1)
        if text == LAST
        else pb.ListRunsRequest(project=project, named=text)
    )
    listed = query.ListRuns(wanted)
    runs = msgspec.json.decode(listed.json, type=list[_RunName])
    if text == LAST:
        found = runs[:1]
    else:
        found = [run for run in runs if run.run_id == text] or [run for run in runs if run.run_id.startswith(text)]
    if not found and listed.damaged:
        raise Damaged(
            "no such run is in the files of the lake that are sound",
            subject=f"run {text}",
            hint=damage_hint(listed.damaged),
        )
    if not found:
        raise NotFound("there is no such run", subject=f"run {text}", hint="`livespan runs list` shows the runs.")
    if len(found) > 1:
        raise InvalidInput(
            f"{len(found)} runs are named so: {_candidates(found)}", subject=f"run {text}", hint=_which(found)
        )
    if whole and text not in (LAST, found[0].run_id):
        raise InvalidInput(
            "this cannot be taken back, so it takes the whole id",
            subject=f"run {text}",
            hint=f"Is it {found[0].run_id} that you mean?",
        )
    return pb.RunRef(project=found[0].project, run_id=found[0].run_id)


def damage_hint(files: Sequence[str]) -> str:
    """Return what to do about damaged files of the lake, which it names."""
    return f"Damaged: {', '.join(files)}. `livespan verify` says where; put them back from a copy of the home."


def _candidates(runs: list[_RunName]) -> str:
    one_project = len({run.project for run in runs}) == 1
    names = [run.run_id if one_project else f"{run.run_id} (project {run.project})" for run in runs[:_SHOWN_CANDIDATES]]
    return ", ".join(names) + (", ..." if len(runs) > _SHOWN_CANDIDATES else "")


def _which(runs: list[_RunName]) -> str:
    return "Give more of the id." if len({run.run_id for run in runs}) > 1 else "Say which with --project."


def _told(error: grpc.RpcError, target: str) -> BaseException:
    """Return our error for a failed call; where no collector answered, gRPC's own words help no one."""
    told = translate(error, subject=target)
    if not _has_detail(error) and (_HTTP_STATUS in str(told) or _code(error) is grpc.StatusCode.UNIMPLEMENTED):
        return Unavailable(
            f"what answers there is no Livespan collector, or one too old for this ({_said(error)})",
            subject=target,
            hint="Give the port of `livespan serve --grpc`, past any HTTP proxy that speaks no gRPC.",
        )
    if type(told) is Unavailable and not _has_detail(error):
        return Unavailable("no collector answers", subject=target, hint=told.hint)
    return told


def _code(error: grpc.RpcError) -> grpc.StatusCode | None:
    return error.code() if isinstance(error, grpc.Call) else None


def _said(error: grpc.RpcError) -> str:
    """Return what a foreign server answered, on one line."""
    text = (error.details() or "") if isinstance(error, grpc.Call) else str(error)
    status = text.rpartition(_HTTP_STATUS)[2].strip(" :")
    return f"it says HTTP {status}" if _HTTP_STATUS in text else f"it says {text!r}"


def _has_detail(error: grpc.RpcError) -> bool:
    """Return whether the collector itself refused, in its own words."""
    if not isinstance(error, grpc.Call):
        return False
    pairs = cast("tuple[tuple[str, str | bytes], ...] | None", error.trailing_metadata())
    return any(key == DETAIL_KEY for key, _ in pairs or ())

"""`livespan runs tail`: records as they come, until Ctrl-C.

    connect ─▶ follow ─▶ lines ─┬─ Ctrl-C ─▶ exit 0
       ▲                        └─ the collector left ─▶ wait for the home's next one ─┬─ it came ─▶ connect
       └───────────────────────────────────────────────────────────────────────────────┘  else ─▶ exit 4

A collector that leaves is not started again to be watched: the next agent does that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click
import msgspec

from livespan.collector.options import OutputForm, Where, output_option, project_option, where_options
from livespan.collector.query.shapes import TailedRecord, TailGap
from livespan.collector.render import count, note, printable, styled, terminal_width, width
from livespan.proto.errors import Closed, NotFound, Unavailable
from livespan.proto.rendezvous import ensure, locate

if TYPE_CHECKING:
    from livespan.proto.v1.livespan_pb2 import TailRequest

__all__ = ["line", "tail"]

_LOOK_S: Final = 0.1
_KIND_COLUMNS: Final = 10
_STYLES: Final = {"SUCCESS": "green", "FAILED": "red", "RUNNING": "cyan"}


@click.command("tail", short_help="Follow what is recorded, as it comes.")
@click.argument("run", default="")
@project_option("Only runs of this project.")
@click.option(
    "--wait-s",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Wait this many seconds for the next collector when the one that is followed leaves.",
)
@output_option
@where_options
def tail(where: Where, output: OutputForm, run: str, project: str, wait_s: float) -> None:
    """Show records of RUN, or of all runs, as the collector indexes them; Ctrl-C ends it.

    It shows what comes from now on. RUN is an id, the unique beginning of one, @last, or the id of a run that is yet
    to come. JSON is a record a line (`-o json` and `-o jsonl` are the same): {at, project, run_id, kind, node_id,
    type, name, status, scope, attempt, log_seq, error_type, error_message}, and {dropped} where some had to be left
    out because they were not read fast enough. Exit code 4: the collector has left, and no other came.
    """
    try:
        for lines in _followed(where, run, project, wait_s):
            _print(lines, output)
    except KeyboardInterrupt:
        return


def _followed(where: Where, run: str, project: str, wait_s: float) -> Iterator[bytes]:
    """Yield JSON lines for ever.

    Raises:
        Unavailable: the collector has left, and no other came in time.
    """
    import grpc  # it costs 70 ms that --help need not pay

    from livespan.proto.rpc import open_channel, translate
    from livespan.proto.v1.livespan_pb2_grpc import QueryStub

    target = where.endpoint or ensure(where.existing_home())
    wanted: TailRequest | None = None
    while True:
        with open_channel(target, where.access) as channel:
            query = QueryStub(channel)
            try:
                wanted = wanted or _wanted(query, run, project)
                stream = query.Tail(wanted)
                stream.initial_metadata()  # it follows from here on
                note(f"Following {f'run {wanted.run_id}' if wanted.run_id else 'all runs'}; Ctrl-C ends it.")
                for reply in stream:
                    if reply.json:
                        yield reply.json
            except grpc.RpcError as error:
                told = translate(error, subject=target)
                if not isinstance(told, (Unavailable, Closed)):
                    raise told from error
        note("The collector has left; what comes meanwhile is not shown.")
        target = _next_target(where, wait_s)


def _wanted(query: object, run: str, project: str) -> TailRequest:
    from livespan.collector.client import find_run
    from livespan.proto.v1.livespan_pb2 import TailRequest
    from livespan.proto.v1.livespan_pb2_grpc import QueryStub

    assert isinstance(query, QueryStub)
    if not run:
        return TailRequest(project=project)
    try:
        found = find_run(query, run, project)
    except NotFound:
        if run.startswith("@"):
            raise
        yet_to_come = TailRequest(project=project, run_id=run)
        note(f"There is no run {printable(run)} yet.")
        return yet_to_come
    return TailRequest(project=found.project, run_id=found.run_id)


def _next_target(where: Where, wait_s: float) -> str:
    """Return where the next collector listens, waiting for it."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        if where.endpoint:
            if _answers(where):
                return where.endpoint
        elif address := locate(where.home):
            return address.target
    raise Unavailable(
        f"the collector has left, and no other came within {wait_s:g} s",
        subject=where.endpoint or str(where.home.root),
        hint="Follow again when an agent runs; `livespan serve` keeps one running.",
    )


def _answers(where: Where) -> bool:
    import grpc

    from livespan.proto.rpc import open_channel
    from livespan.proto.v1.livespan_pb2 import StatusRequest
    from livespan.proto.v1.livespan_pb2_grpc import QueryStub

    with open_channel(where.endpoint, where.access) as channel:
        try:
            QueryStub(channel).Status(StatusRequest(), timeout=1.0)
        except grpc.RpcError:
            return False
    return True


def _print(lines: bytes, output: OutputForm) -> None:
    if output is not OutputForm.TEXT:
        click.echo(lines)
        return
    for each in lines.splitlines():
        told = msgspec.json.decode(each, type=dict[str, object])
        if "dropped" in told:
            gap = msgspec.convert(told, TailGap)
            note(f"... {count(gap.dropped, 'record')} left out: they came faster than they were shown.")
        else:
            click.echo(line(msgspec.convert(told, TailedRecord)))


def line(record: TailedRecord) -> str:
    """Return a record as a line for people: time, run, type or kind, name, what became of it."""
    at = datetime.fromisoformat(record.at).strftime("%H:%M:%S.%f")[:-3] if record.at else " " * 12
    kind = record.type if record.kind in ("started", "ended", "foreign") and record.type else record.kind
    parts = [styled(at, "dim"), printable(record.run_id), f"{kind:{_KIND_COLUMNS}}", printable(record.name)]
    if record.status and record.kind != "lease":  # a lease has it in its name
        parts.append(styled(printable(record.status), _STYLES.get(record.status, "")))
    if record.error_type or record.error_message:
        room = terminal_width() - sum(width(part) + 2 for part in parts)
        said = printable(f"{record.error_type}: {record.error_message}")
        parts.append(said if len(said) <= max(room, 40) else said[: max(room, 40) - 1] + "…")
    return "  ".join(parts)

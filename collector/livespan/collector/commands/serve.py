"""`livespan serve`: run a home's collector in the foreground, or, with --embedded, as the one an agent has started."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from livespan.collector.commands.stop import end_collector
from livespan.collector.forward.options import forward_options
from livespan.collector.forward.target import ForwardTarget
from livespan.collector.guard_options import guard_options
from livespan.collector.listening import Guard, Listen
from livespan.collector.notice_output import NoticeForm, send_notices
from livespan.collector.notices import Notices
from livespan.collector.options import home_option
from livespan.collector.process_tuning import tune_at_end, tune_at_start, tune_when_recovered
from livespan.collector.service_manager import ServiceManager
from livespan.collector.settings import CollectorSettings
from livespan.collector.settings_options import settings_options
from livespan.proto.errors import EXIT_CODES, ErrorKind, HomeHeld, InvalidInput
from livespan.proto.home import Home
from livespan.proto.rendezvous import is_served, read_address
from livespan.proto.scheduling import take_turns

if TYPE_CHECKING:
    from livespan.collector.server import Collector

__all__ = ["run_collector", "serve"]

_EMBEDDED_IDLE_S: Final = 600.0
_RELIEVED: Final = 3
_RELIEF_S: Final = 30.0


@click.command()
@home_option
@guard_options
@click.option(
    "--socket", type=click.Path(path_type=Path), metavar="PATH", help="The unix socket. [default: in the home]"
)
@click.option(
    "--grpc", "grpc_address", default="", metavar="HOST:PORT", help="Also listen here for OTLP/gRPC, Query, Recovery."
)
@click.option(
    "--http", "http_address", default="", metavar="HOST:PORT", help="Also listen here for OTLP/HTTP, /livez, /readyz."
)
@settings_options
@forward_options
@click.option(
    "--log-format",
    type=click.Choice([form.value for form in NoticeForm]),
    default=NoticeForm.TEXT.value,
    show_default=True,
    help="Form of what is told on stderr: lines for people, or a JSON object a line.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least that is told.",
)
@click.option("--embedded", is_flag=True, hidden=True, help="Started by an agent: leave after 10 idle minutes.")
def serve(
    home: Home,
    guard: Guard,
    socket: Path | None,
    grpc_address: str,
    http_address: str,
    settings: CollectorSettings,
    forward: ForwardTarget | None,
    log_format: str,
    log_level: str,
    embedded: bool,
) -> None:
    """Serve a home: keep what agents send, acknowledge it when it is on disk, publish it as Parquet.

    \b
      livespan serve                            the default home, unix socket alone
      livespan serve --grpc 127.0.0.1:4317 --http 127.0.0.1:4318    also for any OTLP client

    Addresses that others can reach are served only with TLS and a token (--tls-cert, --tls-key, --token-file).
    """
    take_turns()  # before anything that starts threads is imported
    from livespan.collector.server import Collector

    if forward and forward.endpoint in {grpc_address, str(socket)} - {""}:
        raise InvalidInput(
            "a collector cannot forward to itself", subject=forward.endpoint, hint="Give your backend's address."
        )
    send_notices(NoticeForm(log_format), log_level, home.collector_output if embedded else None)
    if not embedded:
        _relieve(home)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    collector = Collector(
        home,
        replace(settings, idle_s=_EMBEDDED_IDLE_S) if embedded else settings,
        Listen(
            grpc_address,
            http_address,
            guard,
            socket.absolute() if socket else None,
            Path(runtime) if runtime else None,
        ),
        forward=forward,
    )
    asyncio.run(run_collector(collector, ServiceManager.of(os.environ, os.getpid())))


def _relieve(home: Home) -> None:
    """Have a collector leave that an agent started while none was there; agents wait for the next.

    Raises:
        Conflict: it runs where it cannot be signalled from. Unavailable: it has not left in time.
    """
    for _ in range(_RELIEVED):  # an agent that asks in between has started another
        address = read_address(home)
        if address is None or not address.embedded or not is_served(home):
            return
        Notices("collector").info("takes over from an agent's collector", pid=address.pid)
        end_collector(home, _RELIEF_S)


async def run_collector(collector: Collector, manager: ServiceManager | None = None) -> None:
    """Run a collector until SIGTERM or SIGINT, or until it is idle; a second signal ends it at once."""
    manager = manager or ServiceManager()
    tune_at_start()
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if leave.is_set():
            os._exit(1)
        leave.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    await collector.start()
    tune_when_recovered()
    manager.ready(f"serving {collector.home.root}")
    try:
        await collector.serve(leave)
    except HomeHeld as taken:
        Notices("collector").error("home taken away", error=str(taken))
        logging.shutdown()
        # What a closing collector publishes and removes may be another's now. Not with the code of a home that is held:
        # who started this one may start it again.
        os._exit(EXIT_CODES[ErrorKind.UNAVAILABLE])
    finally:
        manager.stopping()
        published = await collector.close()
        await manager.close()
    if not published:
        print("livespan: left with records that are not published; the log has them", file=sys.stderr, flush=True)
        os._exit(0)  # a thread hangs in the disk, and would keep the process
    tune_at_end()

"""The options of `livespan serve` that say where to forward; the command gets them as one `forward`."""

from __future__ import annotations

from typing import Final

import click

from livespan.collector.forward.target import ForwardProtocol, ForwardTarget, parse_target
from livespan.collector.options import gathered

__all__ = ["forward_options"]

_MIB: Final = 1024 * 1024


def _target(
    forward_url: str, forward_protocol: str | None, forward_header: tuple[str, ...], forward_queue_mb: int
) -> ForwardTarget | None:
    if not forward_url:
        return None
    return parse_target(forward_url, forward_protocol or "", forward_header, forward_queue_mb * _MIB)


forward_options = gathered(
    "forward",
    _target,
    forward_url=click.option(
        "--forward",
        "forward_url",
        envvar="LIVESPAN_FORWARD",
        default="",
        metavar="URL",
        help="Your own OTLP backend: it gets each step as a span, without states. [env: LIVESPAN_FORWARD]",
    ),
    forward_protocol=click.option(
        "--forward-protocol",
        type=click.Choice([protocol.value for protocol in ForwardProtocol]),
        help="How to speak to it. [default: gRPC on port 4317, else HTTP]",
    ),
    forward_header=click.option(
        "--forward-header",
        multiple=True,
        metavar="NAME=VALUE",
        help="Sent with it; others see it in the process list. [env: OTEL_EXPORTER_OTLP_HEADERS]",
    ),
    forward_queue_mb=click.option(
        "--forward-queue-mb",
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        help="What may wait for that backend, in MB; the oldest give way.",
    ),
)

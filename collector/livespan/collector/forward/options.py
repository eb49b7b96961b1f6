"""The options of `livespan serve` that say where to forward; the command gets them as one `forward`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import click

from livespan.collector.forward.target import ForwardProtocol, ForwardTarget, parse_target

__all__ = ["forward_options"]

_MIB: Final = 1024 * 1024


def forward_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--forward`, `--forward-protocol`, `--forward-header` and `--forward-queue-mb`."""

    def with_forward(
        *args: Any,
        forward_url: str,
        forward_protocol: str | None,
        forward_header: tuple[str, ...],
        forward_queue_mb: int,
        **options: Any,
    ) -> None:
        target: ForwardTarget | None = None
        if forward_url:
            target = parse_target(forward_url, forward_protocol or "", forward_header, forward_queue_mb * _MIB)
        command(*args, forward=target, **options)

    wrapped: Callable[..., None] = functools.update_wrapper(with_forward, command)
    for option in (
        click.option(
            "--forward-queue-mb",
            type=click.IntRange(min=1),
            default=64,
            show_default=True,
            help="What may wait for that backend, in MB; the oldest give way.",
        ),
        click.option(
            "--forward-header",
            multiple=True,
            metavar="NAME=VALUE",
            help="Sent with it; others see it in the process list. [env: OTEL_EXPORTER_OTLP_HEADERS]",
        ),
        click.option(
            "--forward-protocol",
            type=click.Choice([protocol.value for protocol in ForwardProtocol]),
            help="How to speak to it. [default: gRPC on port 4317, else HTTP]",
        ),
        click.option(
            "--forward",
            "forward_url",
            envvar="LIVESPAN_FORWARD",
            default="",
            metavar="URL",
            help="Your own OTLP backend: it gets each step as a span, without states. [env: LIVESPAN_FORWARD]",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped

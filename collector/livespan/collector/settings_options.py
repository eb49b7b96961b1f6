"""The options of `livespan serve` that tune a collector; the command gets them as `settings`."""

from __future__ import annotations

from typing import Final

import click

from livespan.collector.options import gathered
from livespan.collector.settings import CollectorSettings

__all__ = ["settings_options"]

_MIB: Final = 1024 * 1024


def _settings(
    lease_s: float, publish_s: float, sql_memory_mb: int, sql_timeout_s: float, sql_rows: int
) -> CollectorSettings:
    return CollectorSettings(
        lease_s=lease_s,
        publish_s=publish_s,
        sql_memory_bytes=sql_memory_mb * _MIB,
        sql_timeout_s=sql_timeout_s,
        sql_rows=sql_rows,
    )


settings_options = gathered(
    "settings",
    _settings,
    lease_s=click.option(
        "--lease-s",
        type=click.FloatRange(min=1.0, max=3600.0),
        default=15.0,
        show_default=True,
        help="How long a run's lease lives without being renewed.",
    ),
    publish_s=click.option(
        "--publish-s",
        type=click.FloatRange(min=0.05, max=86400.0),
        default=10.0,
        show_default=True,
        help="Publish to the lake at least this often.",
    ),
    sql_memory_mb=click.option(
        "--sql-memory-mb",
        type=click.IntRange(min=16),
        default=512,
        show_default=True,
        help="Memory that one SQL statement may have.",
    ),
    sql_timeout_s=click.option(
        "--sql-timeout-s",
        type=click.FloatRange(min=0.1),
        default=30.0,
        show_default=True,
        help="Time that one SQL statement may take.",
    ),
    sql_rows=click.option(
        "--sql-rows",
        type=click.IntRange(min=1),
        default=1_000_000,
        show_default=True,
        help="Rows that one SQL statement may answer with.",
    ),
)

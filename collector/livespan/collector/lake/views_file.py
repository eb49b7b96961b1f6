"""`views.sql` on disk: replaced whole, so that whoever opens it finds one state of the lake or the next."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from livespan.collector.disk import Disk, write_all
from livespan.collector.lake.parquet import sync_new_file
from livespan.collector.lake.views import views_text

__all__ = ["write_views"]


def write_views(
    folder: Path, nodes: Sequence[Path], content: Sequence[Path], touched: Collection[str] | None, disk: Disk
) -> None:
    """Write the lake folder's `views.sql` over these files (as views.relations has them), and return when it lasts.

    Raises:
        OSError: the disk refused; the file is the one that was there, or the new one.
    """
    text = views_text([path.absolute() for path in nodes], [path.absolute() for path in content], touched)
    new = folder / "views.sql.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(disk, fd, new, [text.encode()], 0)
    finally:
        os.close(fd)
    sync_new_file(new, disk)
    disk.replace(new, folder / "views.sql")
    disk.sync_folder(folder)

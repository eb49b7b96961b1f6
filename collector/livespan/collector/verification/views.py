"""`views.sql` against the last commits: the same, written by another version, of a home that was moved, or damaged."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from livespan.collector.lake.file_names import sort_key
from livespan.collector.lake.literals import path_literal
from livespan.collector.lake.seals import sealed_files
from livespan.collector.lake.touched import TouchedRuns
from livespan.collector.lake.views import is_whole, relations, views_text
from livespan.collector.verification.tables import TableReading, open_state
from livespan.proto.home import Home
from livespan.proto.verified import Fault, Verified

__all__ = ["verify_views"]

_MOVED: Final = (
    "views.sql names the files of the last commits at another place: the home was moved or copied. The next start "
    "writes it anew."
)


def verify_views(home: Home, *, looks: int, pause_s: float) -> Verified:
    """Compare `views.sql` with what the publisher writes over the last commits; look so many times more where it is not
    so, since a collector may be in the middle of it.
    """
    path = home.lake / "views.sql"
    found = _fault_or_note(home, path)
    for _ in range(looks):
        if not isinstance(found, Fault):
            break
        time.sleep(pause_s)
        found = _fault_or_note(home, path)
    faults, notes = ((found,), ()) if isinstance(found, Fault) else ((), (found,) if found else ())
    return Verified("lake views", "views.sql", faults, notes)


def _fault_or_note(home: Home, path: Path) -> Fault | str:
    """Return what is wrong with the views, or what is worth knowing of them, "" = nothing."""
    files: list[list[Path]] = []
    for name in ("nodes", "content"):
        reading = TableReading(home.lake / name)
        if (home.lake / name).is_dir():
            open_state(reading, "")
            if not reading.opened:
                return ""  # told of the table
        files.append(sorted((path.absolute() for path in reading.files), key=sort_key))
    if not any(files) and not path.exists():
        return ""
    hint = "It is written anew with the next publication: run anything in this home, or `livespan serve`."
    try:
        found = path.read_bytes()
    except OSError as error:
        return Fault(str(path), None, f"It cannot be read: {error.strerror}.", hint)
    sealed = sealed_files(home.lake / "nodes")
    plain = TouchedRuns().update([(each, sealed.get(each.name)) for each in files[0]])
    touched = plain.touched if plain.known else None
    wanted = views_text(files[0], files[1], touched).encode()
    if found == wanted:
        return ""
    over = relations(files[0], files[1], touched)
    tables = [table for table in (over.plain, over.beside, over.part, over.content) if "read_parquet" in table]
    if is_whole(found):
        if all(table.encode() in found for table in tables):
            return "Another version of Livespan wrote them, over the files of the last commits."
        moved = _as_if_here(found, home.lake.absolute(), [*files[0], *files[1]])
        if all(table.encode() in moved for table in tables):
            return _MOVED
    where = next((at for at, (one, other) in enumerate(zip(found, wanted, strict=False)) if one != other), len(found))
    what = "From here on it is not what belongs to the last commits: plain DuckDB would read something else."
    return Fault(str(path), where, what, hint)


def _as_if_here(text: bytes, lake: Path, files: Sequence[Path]) -> bytes:
    """Return views over the files of a lake that lay elsewhere as they would read if it lay here; unchanged where they
    name none of these files.
    """
    for file in files:
        below = path_literal(file.relative_to(lake)).encode()[1:]
        elsewhere = re.search(rb"'((?:[^']|'')*/)" + re.escape(below), text)
        if elsewhere:
            return text.replace(b"'" + elsewhere[1], path_literal(lake).encode()[:-1] + b"/")
    return text

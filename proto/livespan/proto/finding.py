"""A finding: what one check of `livespan doctor` saw.

Components offer checks by the entry-point group `livespan.checks`. A check is `check(home: Home) -> Iterable[Finding]`:
it reads and never changes anything, starts nothing, and is bounded in time.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        name: what was looked at, a word or two.
        ok: True is well, False is a fault that somebody must mend, None is worth knowing and no fault.
        detail: what was seen, one line.
        hint: what to do about it; "" where nothing need be done.
    """

    name: str
    ok: bool | None
    detail: str
    hint: str = ""

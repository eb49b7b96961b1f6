"""What `livespan verify` sees of one part of a home: how much was read, and what is not as it was written.

Components offer verifiers by the entry-point group `livespan.verifiers`. A verifier is
`verify(home: Home) -> Iterable[Verified]`: it reads and never changes anything, needs no lock, and may run beside a
collector and agents that go on writing; what it cannot judge then it says in the notes.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fault", "Verified"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A place that does not hold what was written there.

    Attributes:
        file: its absolute path.
        offset: bytes from its start; None where it concerns the file as a whole.
        what: what is wrong, one sentence.
        hint: what to do about it.
    """

    file: str
    offset: int | None
    what: str
    hint: str


@dataclass(frozen=True, slots=True)
class Verified:
    """One part that was read.

    Attributes:
        name: which: "log", "lake nodes", "spool".
        checked: what was read, with counts.
        faults: what is wrong; empty where all is sound.
        notes: what could not be checked, and what is worth knowing and no damage.
    """

    name: str
    checked: str
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

"""A payment provider that is a file: one line per try, so that a test can count what happened.

    {"key": "ls-...", "cents": 4200, "receipt": "rc-...", "charged": true}

`charge` is the provider's side of an effect. A provider that honours idempotency keys gives the
first receipt again and charges once; one that ignores them charges on every try. Each try is one
O_APPEND write of one line, so tries of several processes never mix, and a process that is killed
has written its line whole or not at all. Nothing here is durable against a dead machine.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypedDict

import msgspec

from livespan.proto.clock import random_hex
from livespan.proto.errors import Damaged

__all__ = ["Charge", "Ledger", "Try", "charge", "find", "read"]

_MODE: Final = 0o600
_RECEIPT_BYTES: Final = 8


class Charge(TypedDict):
    """What the provider returns; `charged` is False where an earlier receipt was given again."""

    key: str
    cents: int
    receipt: str
    charged: bool


class Try(msgspec.Struct, frozen=True):
    """One line of the ledger."""

    key: str
    cents: int
    receipt: str
    charged: bool

    def as_charge(self) -> Charge:
        """Return it as the provider returned it."""
        return Charge(key=self.key, cents=self.cents, receipt=self.receipt, charged=self.charged)


class Ledger(msgspec.Struct, frozen=True):
    """All tries in the order in which they reached the provider."""

    tries: tuple[Try, ...] = ()

    @property
    def charges(self) -> tuple[Try, ...]:
        """The tries that took money."""
        return tuple(one for one in self.tries if one.charged)

    @property
    def cents(self) -> int:
        """The money taken, in cents."""
        return sum(one.cents for one in self.charges)


def charge(
    path: Path,
    cents: int,
    idempotency_key: str,
    *,
    honours_keys: bool,
    before: Callable[[], None] | None = None,
    after: Callable[[], None] | None = None,
) -> Charge:
    """Try to take `cents`, and return the provider's answer.

    Args:
        path: the ledger; made if it does not exist. cents: the amount. idempotency_key: makes a
        second try the same charge, where honoured; an empty one never does. honours_keys: whether
        this provider looks at the key. before: called once, before anything is written: the place
        to die before the effect. after: called once, after the line is written: the place to die
        with the effect done and
            its result unknown.
    """
    if before is not None:
        before()
    with _locked(path, exclusive=honours_keys) as descriptor:
        earlier = _first(_tries(path), idempotency_key) if honours_keys else None
        receipt = earlier.receipt if earlier else "rc-" + random_hex(_RECEIPT_BYTES)
        amount = earlier.cents if earlier else cents
        one = Try(idempotency_key, amount, receipt, earlier is None)
        line = msgspec.json.encode(one) + b"\n"
        written = os.write(descriptor, line)
        if written != len(line):
            raise Damaged("a line was written in part", subject=str(path))
    if after is not None:
        after()
    return one.as_charge()


def find(path: Path, idempotency_key: str) -> Charge | None:
    """Return the charge that was made under the key, or None: what a probe asks the provider."""
    found = _first(_tries(path), idempotency_key)
    return found.as_charge() if found else None


def read(path: Path) -> Ledger:
    """Return the ledger; an absent file is an empty one. Raises Damaged with the line's number."""
    return Ledger(tuple(_tries(path)))


@contextmanager
def _locked(path: Path, *, exclusive: bool) -> Generator[int]:
    """Yield a descriptor to append to; `exclusive` keeps other tries from looking meanwhile."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        if exclusive:
            # The lock goes with the descriptor, so a try that is killed leaves none behind.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _tries(path: Path) -> Iterator[Try]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, start=1):
        try:
            yield msgspec.json.decode(line, type=Try)
        except msgspec.DecodeError as error:
            raise Damaged(f"not a try: {error}", subject=f"{path}:{number}") from error


def _first(tries: Iterator[Try], key: str) -> Try | None:
    return next((one for one in tries if one.charged and one.key == key and key), None)

"""Programs that this process has started, and the signals that pass through it to them.

    kill(supervisor, TERM) ─▶ noted, sent on to the children
    Ctrl-C, hang-up        ─▶ noted; the terminal has sent it to the children itself, which are of the same group

The children stay in the supervisor's process group, so that a terminal treats them as if they ran alone: they may read
it, Ctrl-C and Ctrl-Z reach them. Signals are blocked here and waited for (`sigtimedwait`), which alone tells where one
came from. They are blocked before any other thread starts, and unblocked in the children.

A child is not killed when its supervisor is (no PR_SET_PDEATHSIG): killed in the middle of an effect it would leave
doubt, going on by itself it leaves none, and its lease keeps a second supervisor from starting it twice.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from livespan.proto.errors import NotFound, Unavailable

__all__ = ["Children", "Ended"]

_PASSED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
_OURS: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Ignored by Python; its children are to have the default."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: by itself with a code, or by a signal (0 = by itself)."""

    pid: int
    code: int
    signal: int

    def __str__(self) -> str:
        if self.signal:
            with suppress(ValueError):
                return f"killed by {signal.Signals(self.signal).name}"
            return f"killed by signal {self.signal}"
        return f"exit code {self.code}"


class Children:
    """See the module; a context manager, opened before anything that starts threads is imported.

    Attributes:
        asked: the last signal that asked this process to end, 0 = none; from then on nothing should be started.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._running: set[int] = set()
        self._passed = {number for number in _PASSED if signal.getsignal(number) is not signal.SIG_IGN}
        self._mask: set[signal.Signals] = set()

    def __enter__(self) -> Children:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._passed, signal.SIGCHLD})
        self._mask = {signal.Signals(number) for number in mask}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    @contextmanager
    def unblocked(self) -> Generator[None]:
        """Let signals do for a moment what they did before; for the start of what is to outlive us.

        No child may run: a signal that comes now ends this process, or raises KeyboardInterrupt.
        """
        held = signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def start(self, argv: Sequence[str], environment: Mapping[str, str], stdout: int | None = None) -> int:
        """Start a program, found by PATH, in the current folder; return its pid.

        Args:
            argv: program and arguments.
            environment: all of its environment.
            stdout: a descriptor that it gets instead of ours.

        Raises:
            NotFound: there is no such program. Unavailable: the system refuses to run it.
        """
        actions = [] if stdout is None else [(os.POSIX_SPAWN_DUP2, stdout, 1)]
        try:
            pid = os.posix_spawnp(
                argv[0], [*argv], environment, file_actions=actions, setsigmask=self._mask, setsigdef=_OURS
            )
        except FileNotFoundError as error:
            raise NotFound("there is no such program", subject=argv[0], hint="Is it in PATH?") from error
        except OSError as error:
            raise Unavailable(
                f"it cannot be run: {error.strerror}", subject=argv[0], hint="Is it a program, and may you run it?"
            ) from error
        self._running.add(pid)
        return pid

    def next_end(self) -> Ended:
        """Return the next child that ends, passing signals on meanwhile; there must be one."""
        while True:
            ended = self._reap()
            if ended is not None:
                self.pause(0.0)  # the Ctrl-C that ended it is ours too
                return ended
            self._take(signal.sigwaitinfo({*self._passed, signal.SIGCHLD}))

    def pause(self, seconds: float) -> bool:
        """Wait; return whether nobody asked this process to end meanwhile."""
        until_s = time.monotonic() + seconds
        while not self.asked and (told := signal.sigtimedwait(self._passed, max(0.0, until_s - time.monotonic()))):
            self._take(told)
        return not self.asked

    def send(self, number: int) -> None:
        """Send a signal to every child that runs."""
        for pid in self._running:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _take(self, told: signal.struct_siginfo) -> None:
        if told.si_signo == signal.SIGCHLD:
            return
        if told.si_signo in _ENDING:
            self.asked = told.si_signo
        if told.si_code <= 0:  # from a process; what the kernel sent for the terminal, the children got too
            self.send(told.si_signo)

    def _reap(self) -> Ended | None:
        """Return a child of ours that has ended; as a container's first process others are inherited, and let go."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if pid in self._running:
                self._running.discard(pid)
                code = os.waitstatus_to_exitcode(status)
                return Ended(pid, max(code, 0), max(-code, 0))

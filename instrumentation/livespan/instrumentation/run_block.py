"""What a user writes to open a run: `with run("order-17") as r`, and `r` itself. Also the run that opens by itself."""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
from collections.abc import Mapping
from contextvars import Token
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

from livespan.instrumentation.branches import CURRENT, current
from livespan.instrumentation.core import Scope
from livespan.instrumentation.masking import Mask
from livespan.instrumentation.opening import OpenRun, open_run
from livespan.instrumentation.process_defaults import with_process_defaults
from livespan.instrumentation.session import SESSIONS, Session
from livespan.instrumentation.settings import AgentSettings, Unreachable, agent_settings, target
from livespan.proto.attributes import LARGE_BYTES
from livespan.proto.clock import random_hex
from livespan.proto.errors import Closed, InvalidInput, RunStopped, Stop
from livespan.proto.home import Home

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["IfFinished", "Run", "active", "run"]

IfFinished: TypeAlias = Literal["return", "raise", "new"]
_MOST_WORDS_BYTES = LARGE_BYTES // 2
"""Each record carries them, the project twice; the collector refuses what has more than LARGE_BYTES of them."""


class Run:
    """A run, as a context manager (`with` or `async with`); made by `run`.

    Attributes:
        id: as it was given.
    """

    def __init__(
        self,
        settings: AgentSettings,
        run_id: str,
        session: str,
        tags: Mapping[str, str],
        if_finished: IfFinished,
        user: str = "",
    ) -> None:
        self.id = run_id
        self._settings = settings
        self._session = session
        self._tags = dict(tags)
        self._user = user
        self._if_finished: IfFinished = if_finished
        self._open: OpenRun | None = None
        self._token: Token[Scope | None] | None = None

    @property
    def attempt(self) -> int:
        """Which of the run's lives this is, from 1."""
        return self._opened().attempt

    @property
    def finished(self) -> bool:
        """Whether the run had ended well before this life: all its calls will be answered from the record."""
        return self._opened().finished

    @property
    def reused(self) -> int:
        """How many calls of this life were answered from the record."""
        return self._opened().session.reused

    @property
    def executed(self) -> int:
        """How many calls of this life ran."""
        return self._opened().session.executed

    @property
    def state(self) -> bytes | None:
        """The newest valid checkpoint of an earlier life, taken where the run itself is (not in a branch); None
        without one.
        """
        checkpoint = self._opened().checkpoints.get(self._scope().path)
        return checkpoint.state if checkpoint is not None else None

    @property
    def state_node_id(self) -> str | None:
        """The node (hex) at which that state was taken."""
        checkpoint = self._opened().checkpoints.get(self._scope().path)
        return checkpoint.node_id.hex() if checkpoint is not None else None

    def restore(self) -> bytes | None:
        """Return the newest valid state and go on from it: what was recorded before it counts as claimed.

        Called in a branch it is that branch's state. Without a checkpoint it returns None and changes nothing. An
        effect that was under way before the checkpoint and whose outcome is not known stays in doubt.
        """
        opened, scope = self._opened(), self._scope()
        checkpoint = opened.checkpoints.get(scope.path)
        if checkpoint is None:
            return None
        opened.session.restore(scope, checkpoint.order, checkpoint.counters)
        return checkpoint.state

    def __enter__(self) -> Run:
        if self._open is not None:
            raise InvalidInput("a run object opens one run once", subject=f"run {self.id}", hint="Call run() again.")
        self._open = open_run(
            self._settings,
            self.id,
            session=self._session,
            tags=self._tags,
            user=self._user,
            if_finished=self._if_finished,
        )
        for remark in self._open.remarks:
            print(f"livespan: run {self.id}: {remark}", file=sys.stderr)
        self._token = CURRENT.set(self._open.session.core.root)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened = self._opened()
        self._leave_scope()
        try:
            opened.close(error)
        except Stop as stop:
            raise RunStopped(stop) from stop
        if isinstance(error, Stop):
            raise RunStopped(error) from error
        if opened.attempt > 1 and error is None:
            print(f"livespan: {self._summary(opened)}", file=sys.stderr)

    async def __aenter__(self) -> Run:
        await asyncio.to_thread(self._open_off_loop)
        self._token = CURRENT.set(self._opened().session.core.root)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # On the loop: what is left to do is bounded, and another task must not run in between as if the run were open.
        self.__exit__(kind, error, trace)

    def _open_off_loop(self) -> None:
        """Open in a worker thread, whose context is a copy: the scope is set by the caller."""
        self.__enter__()
        self._token = None

    def _leave_scope(self) -> None:
        if self._token is None:
            return
        token, self._token = self._token, None
        try:
            CURRENT.reset(token)
        except ValueError:  # the block ends in another context than it began in, as async fixtures do
            CURRENT.set(None)

    def _scope(self) -> Scope:
        scope = current()
        return scope if scope is not None else self._opened().session.core.root

    def _opened(self) -> OpenRun:
        if self._open is None:
            raise Closed("the run is not open", subject=f"run {self.id}", hint="Use it as `with run(...) as r:`.")
        return self._open

    def _summary(self, opened: OpenRun) -> str:
        steps = self.reused + self.executed
        if opened.finished:
            return f"run {self.id} was finished before: {self.reused} of {steps} steps reused, {_finished(opened)}"
        return f"run {self.id} finished in attempt {opened.attempt}: {self.reused} of {steps} steps reused"


def _finished(opened: OpenRun) -> str:
    """Return when the run finished, in UTC to the second."""
    return f"finished {datetime.fromtimestamp(opened.ended_ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def run(
    id: str | None = None,  # noqa: A002 - the field's word, and users pass it by place
    *,
    tags: Mapping[str, str] | None = None,
    session: str = "",
    user: str = "",
    if_finished: IfFinished = "return",
    project: str | None = None,
    home: str | Path | None = None,
    endpoint: str | None = None,
    on_unreachable: Unreachable | None = None,
    mask: Mask | None = None,
    tracer_provider: TracerProvider | None = None,
) -> Run:
    """Return a run to be opened by `with` or `async with`. A run that was begun before is resumed where its record
    ends.

    Args:
        id: names the run within its project; the same program with the same id resumes it. None: `LIVESPAN_RUN_ID`,
            else a
            random one, which nobody can resume.
        tags: words of the user's, kept with the run.
        session: the conversation that the run belongs to.
        user: on whose behalf it runs; kept with each life of it.
        if_finished: what to do where the run has ended well: "return" its recorded answers, "raise" RunFinished, or
            open it anew
            ("new", another generation of the id).
        project, home, endpoint, on_unreachable: instead of the environment's; see AgentSettings.
        mask: takes out of what is recorded what must not be; see masking.py for what it is shown, and what follows.
        tracer_provider: where this run's nodes are mirrored as ordinary spans, without state; see mirror.py.

    Raises (when it is opened):
        RunHeld: another process runs it.
        RunCancelled: it was cancelled before it was done.
        Unavailable: no collector can be reached or started, or the home cannot be used.
    """
    settings = with_process_defaults(agent_settings())
    if mask is not None:
        settings = replace(settings, mask=mask)
    if tracer_provider is not None:
        settings = replace(settings, tracer_provider=tracer_provider)
    if home is not None:
        settings = replace(settings, home=Home(Path(home).expanduser().absolute()))
    if project is not None:
        settings = replace(settings, project=project)
    if endpoint is not None:
        settings = replace(settings, endpoint=target(endpoint))
    if on_unreachable is not None:
        settings = replace(settings, on_unreachable=on_unreachable)
    if if_finished not in get_args(IfFinished) or settings.on_unreachable not in get_args(Unreachable):
        raise InvalidInput(
            f"if_finished={if_finished!r}, on_unreachable={settings.on_unreachable!r}: one of them is no choice",
            subject=f"run {id}",
            hint='if_finished is "return", "raise" or "new"; on_unreachable is "fail" or "spool".',
        )
    run_id = id if id is not None else settings.run_id or f"auto-{random_hex(6)}"
    _refuse_others_than_words(id=run_id, session=session, user=user, tags=tags)
    if mask is not None and not callable(mask):
        raise InvalidInput(
            f"mask is {mask!r}, and no function", subject=f"run {run_id}", hint="Give a function: mask(text, where)."
        )
    if not run_id or len(run_id) > 512 or any(ord(letter) < 32 for letter in run_id):
        raise InvalidInput("a run id is 1 to 512 characters, none of them control characters", subject=repr(run_id))
    if run_id.startswith("@"):
        raise InvalidInput(
            "a run id does not begin with @",
            subject=repr(run_id),
            hint="The command line has words of its own that do: @last is the newest run.",
        )
    _refuse_too_many_words(settings.project, run_id, session, *(tags or {}).keys(), *(tags or {}).values())
    return Run(settings, run_id, session, tags or {}, if_finished, user)


def _refuse_others_than_words(*, tags: object, **words: object) -> None:
    """Raise InvalidInput, before anything is opened, for what the caller's type checker would have refused."""
    if tags is not None:
        if not isinstance(tags, Mapping):
            raise InvalidInput(f"tags is {tags!r}", subject="run", hint='Give a mapping: tags={"tier": "gold"}.')
        for key, value in cast("Mapping[object, object]", tags).items():
            words[f"tag {key!r}"] = value if isinstance(key, str) else key
    for word, value in words.items():
        if not isinstance(value, str):
            raise InvalidInput(f"{word} is {value!r}, and must be a str", subject="run", hint="Use str(...).")


def _refuse_too_many_words(*words: str) -> None:
    """Raise InvalidInput for words that the collector would refuse with every record of the run."""
    size = sum(len(word.encode("utf-8", "replace")) for word in words)
    if size > _MOST_WORDS_BYTES:
        raise InvalidInput(
            f"project, id, session and tags have {size} bytes together, and {_MOST_WORDS_BYTES} may be had",
            subject="run",
            hint="What is long belongs into the input of a step.",
        )


_implicit: list[Run] = []
_implicit_lock = threading.Lock()


def active() -> tuple[Session, Scope]:
    """Return the session and scope of the running code; where no run is open, the process's own one opens."""
    scope = current()
    if scope is not None:
        session = SESSIONS.get(scope.trace)
        if session is None:
            raise Closed(
                "the run of this task or thread has ended",
                hint="Wait for tasks and threads before the run's block ends.",
            )
        return session, scope
    opened = _implicit_run()
    return opened.session, opened.session.core.root


def _implicit_run() -> OpenRun:
    with _implicit_lock:
        if not _implicit:
            settings = agent_settings()
            implicit = run(settings.run_id or None)
            if not settings.run_id:
                print(
                    f"livespan: no run is open; recording as {implicit.id}, which cannot be resumed. "
                    "Use `with livespan.instrumentation.run(ID)` or LIVESPAN_RUN_ID.",
                    file=sys.stderr,
                )
            implicit.__enter__()
            implicit._leave_scope()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # the same file's class
            _implicit.append(implicit)
            atexit.register(_end_implicit)
        return _implicit[0]._opened()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # the same file's class


def _end_implicit() -> None:
    while _implicit:
        try:
            _implicit.pop().__exit__(None, None, None)
        except RunStopped as stopped:
            print(f"livespan: {stopped}", file=sys.stderr)

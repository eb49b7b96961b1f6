"""Decorators for plain Python: `@tool`, `@step`, and scopes by `@step(type="BRANCH")` or `@tool(scope=True)`.

A decorated function is called as before. Its arguments are bound to names, so that `f(1)` and `f(x=1)` are one call;
what comes out is recorded before the caller has it, and comes from the record when the run is resumed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, ParamSpec, TypeAlias, TypeVar, cast, overload

from livespan.instrumentation.branches import entered
from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Request
from livespan.instrumentation.core import FAIL, Fail, InDoubtPolicy, Probe, Retry
from livespan.instrumentation.run_block import active
from livespan.instrumentation.settings import agent_settings
from livespan.instrumentation.timeouts import abounded, bounded, checked_timeout
from livespan.instrumentation.tries import RetrySetting, Tries
from livespan.proto.codec import encode
from livespan.proto.errors import InvalidInput, Unrecordable
from livespan.proto.node import NodeType

__all__ = ["InDoubtSetting", "bind", "is_recorded", "policy", "step", "tool"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Bind: TypeAlias = Callable[[tuple[Any, ...], Mapping[str, Any]], dict[str, Any]]
InDoubtSetting: TypeAlias = Literal["fail", "retry"] | Fail | Retry | Callable[..., Any]
"""`"fail"`, `"retry"`, `Retry(within_s=...)`, or a probe: `probe(key, *args, **kwargs)` -> result or NOT_DONE."""
_STEP_TYPES: Final = ("PROMPT", "MEMORY", "BRANCH")
_MARK: Final = "__livespan_recorded__"
_PLAIN_KINDS: Final = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


@overload
def tool(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...


@overload
def tool(
    *,
    name: str = "",
    effect: bool = True,
    in_doubt: InDoubtSetting | None = None,
    not_done_on: tuple[type[BaseException], ...] = (),
    key: Callable[..., object] | None = None,
    ignore: tuple[str, ...] = (),
    scope: bool = False,
    retry: RetrySetting | None = None,
    timeout_s: float | None = None,
    mask_output: bool = False,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    effect: bool = True,
    in_doubt: InDoubtSetting | None = None,
    not_done_on: tuple[type[BaseException], ...] = (),
    key: Callable[..., object] | None = None,
    ignore: tuple[str, ...] = (),
    scope: bool = False,
    retry: RetrySetting | None = None,
    timeout_s: float | None = None,
    mask_output: bool = False,
) -> Any:
    """Make a function a TOOL: recorded, answered from the record, and, being an effect, never run twice unasked.

    Args:
        name: instead of the function's own.
        effect: False for a read, which may be asked again.
        in_doubt: what to do where an earlier life started it and its outcome is not known; default "fail".
        not_done_on: errors which say that the effect did not happen (beside NotDone).
        key: returns what identifies a call, from its arguments; instead of all of them.
        ignore: names of arguments that do not identify a call; where no codec holds one, it is not recorded either. So
            it is with the `self` of a method.
        scope: it calls other steps: it is entered in every life, and only they are answered.
        retry: how often it is tried in all, or a `tenacity.Retrying`. Each try is recorded, under one idempotency key;
            an effect is tried again only where its error says that it was not done, or with in_doubt="retry".
        timeout_s: longest time that one try may take, in seconds; then TimeoutError, and an effect may still happen.
            A synchronous function is left behind in a thread of its own; see timeouts.py.
        mask_output: its result is shown to the run's mask; a resume cannot go past what the mask changed.
    """

    if not effect and in_doubt is not None:
        raise InvalidInput(
            "effect=False is a read, which is never in doubt, so in_doubt= says nothing of it",
            subject=f"tool {name}".strip(),
            hint="Leave one of them away.",
        )

    def decorate(wrapped: Callable[..., Any]) -> Callable[..., Any]:
        _refuse_other_than_functions(wrapped, "tool")
        if scope:
            _refuse_policies(name or wrapped.__name__, retry, timeout_s, mask_output)
            return _scoped(wrapped, name or wrapped.__name__)
        declared = _Declared(name, effect, in_doubt, not_done_on, key, ignore, retry, timeout_s, mask_output)
        return _recorded(wrapped, NodeType.TOOL, declared)

    return decorate(function) if function is not None else decorate


@overload
def step(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...


@overload
def step(
    *,
    type: Literal["PROMPT", "MEMORY", "BRANCH"] = "PROMPT",
    name: str = "",
    key: Callable[..., object] | None = None,
    ignore: tuple[str, ...] = (),
    retry: RetrySetting | None = None,
    timeout_s: float | None = None,
    mask_output: bool = False,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...


def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    type: Literal["PROMPT", "MEMORY", "BRANCH"] = "PROMPT",  # noqa: A002 - the node's own word for it
    name: str = "",
    key: Callable[..., object] | None = None,
    ignore: tuple[str, ...] = (),
    retry: RetrySetting | None = None,
    timeout_s: float | None = None,
    mask_output: bool = False,
) -> Any:
    """Make a function a step: a PROMPT or MEMORY is answered from the record, a BRANCH is entered and groups what it
    calls.

    Args:
        type: what it is. A BRANCH is entered in every life, and must be given no side effect of its own.
        name, key, ignore, retry, timeout_s, mask_output: as of `tool`.
    """
    if type not in _STEP_TYPES:
        raise InvalidInput(f"{type!r} is no type of a step", subject="step", hint=f"Use {', '.join(_STEP_TYPES)}.")
    kind = NodeType(type)

    def decorate(wrapped: Callable[..., Any]) -> Callable[..., Any]:
        _refuse_other_than_functions(wrapped, "step")
        if kind is NodeType.BRANCH:
            _refuse_policies(name or wrapped.__name__, retry, timeout_s, mask_output)
            return _scoped(wrapped, name or wrapped.__name__)
        declared = _Declared(name, False, None, (), key, ignore, retry, timeout_s, mask_output)
        return _recorded(wrapped, kind, declared)

    return decorate(function) if function is not None else decorate


def is_recorded(function: object) -> bool:
    """Return whether a function was decorated by `tool` or `step`, so that it sees to its own record."""
    return getattr(function, _MARK, False) is True


def policy(setting: InDoubtSetting | None, name: str) -> InDoubtPolicy:
    """Return the in-doubt policy of a tool: its own, else the environment's for its name, else the environment's
    default.
    """
    if setting is None:
        told = agent_settings().in_doubt
        setting = cast("InDoubtSetting", told.get(name) or told.get("") or "fail")
    if isinstance(setting, (Fail, Retry)):
        return setting
    if setting == "fail":
        return FAIL
    if setting == "retry":
        return Retry()
    if callable(setting):
        return Probe(setting)
    raise InvalidInput(
        f"{setting!r} is no in-doubt policy",
        subject=f"tool {name}",
        hint='Use "fail", "retry", Retry(within_s=...), or a probe: probe(key, *args, **kwargs).',
    )


def bind(function: Callable[..., Any]) -> _Bind:
    """Return a function that binds arguments to names, defaults included; the common case without `inspect`.

    Raises:
        TypeError: (when called) the arguments do not fit.
    """
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    plain = all(parameter.kind in _PLAIN_KINDS for parameter in parameters)
    names = tuple(parameter.name for parameter in parameters)

    def bound(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if plain and not kwargs and len(args) == len(names):
            return dict(zip(names, args, strict=True))
        found = signature.bind(*args, **kwargs)
        found.apply_defaults()
        return found.arguments

    return bound


@dataclass(frozen=True, slots=True)
class _Declared:
    """What a decorator was told; see `tool`."""

    name: str
    effect: bool
    in_doubt: InDoubtSetting | None
    not_done_on: tuple[type[BaseException], ...]
    key: Callable[..., object] | None
    ignore: tuple[str, ...]
    retry: RetrySetting | None
    timeout_s: float | None
    mask_output: bool


def _refuse_other_than_functions(given: object, decorator: str) -> None:
    if not callable(given):
        raise InvalidInput(
            f"{given!r} is no function", subject=decorator, hint=f'A name is said as @ls.{decorator}(name="...").'
        )


def _refuse_policies(name: str, *policies: object) -> None:
    if any(policies):
        raise InvalidInput(
            "retry=, timeout_s= and mask_output= are of single calls, and this one only groups others",
            subject=name,
            hint="Say them of the tools and steps that it calls.",
        )


def _recorded(function: Callable[..., Any], kind: NodeType, declared: _Declared) -> Callable[..., Any]:
    name = declared.name or function.__name__
    _refuse_generators(function, name)
    site = CallSite.of(
        kind,
        name,
        effect=declared.effect,
        in_doubt=policy(declared.in_doubt, name),
        not_done_on=declared.not_done_on,
        as_scope="@ls.tool(scope=True)" if kind is NodeType.TOOL else '@ls.step(type="BRANCH")',
        mask_output=declared.mask_output,
        repeats=declared.retry is not None,
    )
    tries = Tries(declared.retry, name) if declared.retry is not None else None
    timeout_s = checked_timeout(declared.timeout_s, name)
    request = _requests(function, name, declared)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def recorded_async(*args: Any, **kwargs: Any) -> Any:
            session, scope = active()
            body = cast("Callable[[], Awaitable[Any]]", functools.partial(function, *args, **kwargs))
            if timeout_s is not None:
                body = functools.partial(abounded, body, timeout_s, name)
            if tries is not None:
                return await tries.acall(session, scope, site, request(args, kwargs), body)
            return await session.acall(scope, site, request(args, kwargs), body)

        return _marked(recorded_async)

    @functools.wraps(function)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        session, scope = active()
        body = functools.partial(function, *args, **kwargs)
        if timeout_s is not None:
            body = functools.partial(bounded, body, timeout_s, name)
        if tries is not None:
            return tries.call(session, scope, site, request(args, kwargs), body)
        return session.call(scope, site, request(args, kwargs), body)

    return _marked(recorded)


def _requests(
    function: Callable[..., Any], name: str, declared: _Declared
) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Request]:
    """Return what makes a call's request of its arguments.

    Raises:
        InvalidInput: `ignore` names what is no argument.
    """
    binder, key, ignore = bind(function), declared.key, declared.ignore
    unknown = set(ignore) - set(inspect.signature(function).parameters)
    if unknown:
        raise InvalidInput(f"ignore names no argument of it: {', '.join(sorted(unknown))}", subject=name)
    optional = (*ignore, *_receiver(function))

    def request(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Request:
        value = binder(args, kwargs)
        for word in optional:
            if not _is_recordable(value[word]):
                del value[word]
        seen: object = None
        if key is not None:
            seen = key(*args, **kwargs)
        elif ignore:
            seen = {word: one for word, one in value.items() if word not in ignore}
        return Request(value, seen, "", (args, kwargs))

    return request


def _receiver(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the name of a method's own object among its parameters, () for a function."""
    first = next(iter(inspect.signature(function).parameters), "")
    around = function.__qualname__.rpartition(".")[0]
    return (first,) if first in ("self", "cls") and around and not around.endswith("<locals>") else ()


def _is_recordable(value: object) -> bool:
    try:
        encode(value)
    except Unrecordable:
        return False
    return True


def _refuse_generators(function: Callable[..., Any], name: str) -> None:
    """A generator's body runs when its caller asks for items: after the call, and outside of its scope."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidInput(
            "a generator cannot be recorded as one call", subject=name, hint="Decorate what it calls, or return a list."
        )


def _marked(wrapper: Callable[..., Any]) -> Callable[..., Any]:
    wrapper.__dict__[_MARK] = True
    return wrapper


def _scoped(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    _refuse_generators(function, name)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def scoped_async(*args: Any, **kwargs: Any) -> Any:
            session, around = active()
            inner = session.enter(around, name)
            try:
                with entered(inner):
                    result = await function(*args, **kwargs)
            except BaseException as error:
                session.leave(inner, error)
                raise
            session.leave(inner, None)
            return result

        return _marked(scoped_async)

    @functools.wraps(function)
    def scoped(*args: Any, **kwargs: Any) -> Any:
        session, around = active()
        inner = session.enter(around, name)
        try:
            with entered(inner):
                result = function(*args, **kwargs)
        except BaseException as error:
            session.leave(inner, error)
            raise
        session.leave(inner, None)
        return result

    return _marked(scoped)

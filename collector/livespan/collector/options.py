"""Options that many commands share: where the collector is, the form of the output, the project; and how options that
belong together reach a command as one value.

@click.command()
@where_options
@output_option
def plan(where: Where, output: OutputForm) -> None: ...
"""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click

from livespan.proto.access import NO_ACCESS, Access, access_from
from livespan.proto.errors import InvalidInput, NotFound
from livespan.proto.home import Home, default_home

__all__ = ["OutputForm", "Where", "gathered", "home_option", "output_option", "project_option", "where_options"]

_GRPC_SCHEMES: Final = ("https://", "unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "vsock:")
"""What gRPC or `open_channel` takes beside HOST:PORT."""
_P = ParamSpec("_P")
_R = TypeVar("_R")
_Command = TypeVar("_Command", bound=Callable[..., Any])


class OutputForm(StrEnum):
    """How a command prints its data: for people, as one JSON document, or as a JSON document a line."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Where:
    """Which collector a command speaks to.

    Attributes:
        home: the home; not looked at where an endpoint is set.
        endpoint: `host:port`, `https://host:port` or `unix:/path` of a collector that runs, "" for the home's own.
        flags: the flags that say the same again, for commands that people are to paste.
        access: what is shown to a collector that runs elsewhere.
    """

    home: Home
    endpoint: str
    flags: str = ""
    access: Access = NO_ACCESS

    def existing_home(self) -> Home:
        """Return the home.

        Raises:
            NotFound: there is none here; nothing is created, so that a mistyped path cannot become an empty home.
        """
        root = self.home.root
        if not root.is_dir():
            raise NotFound(
                "there is no home here",
                subject=str(root),
                hint="Give --home (LIVESPAN_HOME) the right path; a first run makes one, so does `livespan serve`.",
            )
        if not any(path.exists() for path in (self.home.spool, self.home.log, self.home.lake, self.home.lock)):
            raise NotFound(
                "this folder is no home of Livespan",
                subject=str(root),
                hint="Give --home (LIVESPAN_HOME) the right path; `livespan serve --home DIR` makes a new home.",
            )
        return self.home

    def own_home(self, only: str) -> Home:
        """Return the home, for what is done to its own files and processes; it need not be there.

        Args:
            only: what can be done so, "only a home's own ... can be ...".

        Raises:
            InvalidInput: an endpoint is named and no home, so that the default one could be taken for it.
        """
        if self.endpoint and not self.flags.startswith("--home"):
            raise InvalidInput(only, subject=self.endpoint, hint="Give --home, without --endpoint.")
        return self.home


_home_option = click.option(
    "--home",
    envvar="LIVESPAN_HOME",
    type=click.Path(path_type=Path, file_okay=True),
    metavar="DIR",
    help="The home. [env: LIVESPAN_HOME; default: ~/.local/state/livespan]",
)


def home_option(command: Callable[..., _R]) -> Callable[..., _R]:
    """Add `--home` alone, for what is of a home and not of any collector; the command gets it as `home`, a Home."""

    def with_home(*args: Any, home: Path | None, **kwargs: Any) -> _R:
        return command(*args, home=_home(home), **kwargs)

    return _home_option(functools.update_wrapper(with_home, command))


def where_options(command: Callable[Concatenate[Where, _P], _R]) -> Callable[_P, _R]:
    """Add `--home` and `--endpoint` to a command; it gets them as `where`."""

    def with_where(home: Path | None, endpoint: str, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        where = Where(_home(home), _target(endpoint), _given_flags(home, endpoint), access_from(os.environ))
        return click.get_current_context().invoke(command, where, *args, **kwargs)

    wrapped = functools.update_wrapper(with_where, command)
    wrapped = click.option(
        "--endpoint",
        envvar="LIVESPAN_ENDPOINT",
        default="",
        metavar="TARGET",
        help="A collector that runs: host:port, https://host:port or unix:/path. [env: LIVESPAN_ENDPOINT]",
    )(wrapped)
    return _home_option(wrapped)  # type: ignore[return-value]  # click hands the callable through; its type does not say so


def output_option(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Add `-o text|json|jsonl`; the command gets it as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice([form.value for form in OutputForm]),
        default=OutputForm.TEXT.value,
        show_default=True,
        callback=_form,
        help="Form of the output.",
    )(command)


def project_option(told: str) -> Callable[[_Command], _Command]:
    """Add `--project`; the command gets it as `project`, "" where none is named."""
    return click.option("--project", envvar="LIVESPAN_PROJECT", default="", help=f"{told} [env: LIVESPAN_PROJECT]")


def gathered(
    name: str, make: Callable[..., object], **options: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Callable[[Callable[..., _R]], Callable[..., _R]]:
    """Return a decorator that adds options which a command gets as one value.

    Args:
        name: the value's, as the command has it.
        make: makes it of the options' values, each by the name that it has here.
        options: each a `click.option`, in the order in which help lists them.
    """

    def decorate(command: Callable[..., _R]) -> Callable[..., _R]:
        def with_value(*args: Any, **kwargs: Any) -> _R:
            value = make(**{option: kwargs.pop(option) for option in options})
            return command(*args, **{name: value}, **kwargs)

        wrapped: Callable[..., _R] = functools.update_wrapper(with_value, command)
        for option in reversed(options.values()):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _form(_context: click.Context, _parameter: click.Parameter, value: str) -> OutputForm:
    return OutputForm(value)


def _home(given: Path | None) -> Home:
    return Home((given or default_home()).expanduser().absolute())


def _target(endpoint: str) -> str:
    """Return an endpoint as `open_channel` names targets.

    Raises:
        InvalidInput: it names no port. Of https:// it may be left out: gRPC takes 443.
    """
    text = endpoint.strip().rstrip("/")
    target = text.removeprefix("http://").removeprefix("grpc://")
    if not target or target.startswith(_GRPC_SCHEMES):
        return target
    host, _, port = target.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidInput(
            "this is no address of a collector",
            subject=ascii(endpoint),
            hint="Give HOST:PORT, https://HOST:PORT or unix:/PATH.",
        )
    return target


def _given_flags(home: Path | None, endpoint: str) -> str:
    """Return the flags that were typed; what came by environment is there for the pasted command too."""
    source = click.get_current_context().get_parameter_source
    typed = click.core.ParameterSource.COMMANDLINE
    flags: list[str] = []
    if home is not None and source("home") is typed:
        flags += ["--home", str(home)]
    if endpoint and source("endpoint") is typed:
        flags += ["--endpoint", endpoint]
    return shlex.join(flags)

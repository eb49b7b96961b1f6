"""The `livespan` command: the root group, how sub-commands are found, and how errors become messages and exit codes.

Sub-commands are click commands of the entry-point group `livespan.commands`, each owned by its component and loaded
when asked for. A module of commands imports what is heavy (grpc, duckdb) inside its functions, so that `--help`
and `--version` are quick.

    0 ok   1 failure   2 usage   3 not found   4 unavailable   5 conflict, in doubt   6 damaged, diverged
    130 Ctrl-C   141 nobody reads the output any more

Data goes to stdout, everything else to stderr; a command that fails in `-o json` has printed nothing to stdout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version
from typing import Final, NoReturn

import click

from livespan.collector.wrong_bytes import wrong_bytes
from livespan.proto.errors import EXIT_CODES, CollectorMissing, ErrorKind, LivespanError, Stop

__all__ = ["COMMANDS", "livespan", "main", "run_command"]

COMMANDS: Final = "livespan.commands"
_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141
_GRPC_VERBOSITY: Final = "GRPC_VERBOSITY"


class _CommandsByEntryPoint(click.Group):
    """A group whose commands are entry points; one that cannot be loaded does not break the others."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Click would make this exit code 1, which is a failure's; nobody reads any more, which is none.
            _drop_stdout()
            ctx.exit(_BROKEN_PIPE)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group=COMMANDS))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for point in entry_points(group=COMMANDS, name=cmd_name):
            try:
                return _load(point)
            except ImportError as error:
                return _Unavailable(point.name, error)
        return super().get_command(ctx, cmd_name)


class _Unavailable(click.Command):
    """Stands in for a command whose packages are missing: listed with the reason, and told in full when it is run."""

    def __init__(self, name: str, error: ImportError) -> None:
        missing = error.name or str(error)
        super().__init__(name, short_help=f"(not available: {missing} is not installed)", add_help_option=False)
        self.ignore_unknown_options = True
        self.context_settings = {"ignore_unknown_options": True, "allow_extra_args": True}
        self._missing = missing

    def invoke(self, ctx: click.Context) -> object:
        raise _not_installed(self._missing, f"livespan {self.name}")


def _load(point: EntryPoint) -> click.Command:
    command: object = getattr(import_module(point.module), point.attr)
    if not isinstance(command, click.Command):
        raise ImportError(f"{point.value} is no click command", name=point.value)
    return command


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"livespan {version('livespan')}")
        ctx.exit()


@click.group(
    cls=_CommandsByEntryPoint,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 unavailable, 5 conflict or in doubt, "
    "6 damaged or diverged.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def livespan() -> None:
    """Crash recovery, checkpointing and replay for AI agents.

    \b
      livespan demo                     kill an agent half way and watch it come back
      livespan runs list                what ran, and how it ended
      livespan runs show @last          the newest run, step by step
      livespan sql "FROM effects"       everything recorded, as SQL
    """


def run_command(command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """Run a click command and return its exit code; this is the one place where errors become messages."""
    try:
        code: object = command.main(args=arguments, prog_name="livespan", standalone_mode=False)
        sys.stdout.flush()
    except (LivespanError, Stop) as error:
        _tell(str(error))
        return EXIT_CODES[error.kind]
    except ModuleNotFoundError as error:
        # A command imports what is heavy when it is run; a module of ours that is not there is a bug, and told as one.
        if error.name is None or error.name.partition(".")[0] == "livespan":
            raise
        _tell(str(_not_installed(error.name, "")))
        return EXIT_CODES[CollectorMissing.kind]
    except UnicodeEncodeError as error:
        refused = wrong_bytes(error)
        if refused is None:
            raise
        _tell(str(refused))
        return EXIT_CODES[refused.kind]
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return _BROKEN_PIPE
    except OSError as error:
        if not _is_of_stdout(error):
            raise
        _drop_stdout()
        _tell(f"stdout cannot be written: {error.strerror}")
        return EXIT_CODES[ErrorKind.INTERNAL]
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """Run the `livespan` command and leave the process with its exit code."""
    _hush_grpc()
    sys.exit(run_command(livespan))


def _hush_grpc() -> None:
    """Keep gRPC's own lines off stderr: they are in no form that was asked for, and say what our message says.

    gRPC reads its settings from C's environment. There alone it is set, so that a program which `livespan run` starts
    with `os.environ` is not hushed too.
    """
    if _GRPC_VERBOSITY not in os.environ:
        os.putenv(_GRPC_VERBOSITY, "NONE")


def _not_installed(package: str, subject: str) -> CollectorMissing:
    return CollectorMissing(
        f"{package} is not installed",
        subject=subject,
        hint="pip install 'livespan[collector]' (or 'livespan[demo]' for `livespan demo`).",
    )


def _tell(text: str) -> None:
    click.echo(f"{click.style('livespan:', fg='red', bold=True)} {text}", err=True)


def _is_of_stdout(error: OSError) -> bool:
    """Return whether printing has failed, which `click.echo` and the last flush do: a full disk, a terminal gone."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code in {click.echo.__code__, run_command.__code__}


def _drop_stdout() -> None:
    """Let what is still buffered go nowhere, else the interpreter's last flush prints a traceback after us."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)

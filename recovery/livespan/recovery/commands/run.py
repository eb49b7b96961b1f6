"""`livespan run`: start an agent's program, and again after a crash."""

from __future__ import annotations

import os
import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from livespan.collector.options import OutputForm, Where, output_option, project_option, where_options
from livespan.collector.render import note, print_result
from livespan.proto.errors import InvalidInput, NotFound
from livespan.recovery.commands.limit_options import limit_options
from livespan.recovery.supervision.children import Children
from livespan.recovery.supervision.patience import Limits
from livespan.recovery.supervision.results import RunResult

if TYPE_CHECKING:
    from livespan.recovery.supervision.supervisor import Supervised

__all__ = ["run"]

_ENVIRONMENTS: Final = "livespan.environments"
_NOT_AGAIN: Final = frozenset({"Cancelled", "RunCancelled", "RunFinished"})
"""Stops after which the same command would be refused again, whatever is mended."""


@click.command(
    short_help="Start a program, and again after a crash.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--id", "run_id", envvar="LIVESPAN_RUN_ID", required=True, help="The run's id. [env: LIVESPAN_RUN_ID]")
@project_option("The run's project.")
@click.option("--cwd", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Start it in this folder.")
@limit_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@output_option
@where_options
def run(
    where: Where,
    output: OutputForm,
    run_id: str,
    project: str,
    cwd: Path | None,
    command: tuple[str, ...],
    limits: Limits,
) -> int:
    """Start COMMAND with LIVESPAN_RUN_ID set, and start it again when it crashes.

    \b
      livespan run --id order-17 -- python agent.py
      livespan run --id order-17 --max-restarts 3 -- python -m shop.agent --fast

    A crash is a signal or an exit code other than 0. It is not started again when its run is in doubt, has diverged,
    is run by another process, or is cancelled: exit code 5 or 6, with what to do. It gives up, with exit code
    1, in a crash loop, and after --max-restarts; a run that gets on begins both counts anew.

    Signals pass through to the program; after SIGINT, SIGTERM or SIGHUP it is not started again, and the exit code is
    0 where it ended well and 128 + the signal else. Killed by SIGKILL, this command leaves the program running.

    With -o json, the program's stdout goes to stderr, and stdout is {run_id, project, outcome, exit_code, name,
    reason, hint, lives, finished, command} at the end.
    """
    project = project or "default"
    if not run_id or len(run_id) > 512 or any(ord(letter) < 32 for letter in run_id):
        raise InvalidInput("a run id is 1 to 512 characters, none of them control characters", subject=repr(run_id))
    if run_id.startswith("@"):
        raise InvalidInput("a run id does not begin with @", subject=run_id, hint="@last names the newest run.")
    # Signals are blocked before grpc starts threads: a thread that does not block them would take them.
    with Children() as children:
        from livespan.proto.v1.livespan_pb2 import RunRef
        from livespan.recovery.supervision.asking import Asker
        from livespan.recovery.supervision.supervisor import Program, Supervisor

        if cwd is not None:
            _enter(cwd)
        supervisor = Supervisor(
            Program(command, _environment(where, run_id, project), 2 if output is not OutputForm.TEXT else None),
            children,
            Asker(where.home, where.endpoint, where.access, RunRef(project=project, run_id=run_id), children),
            limits,
            lambda text: note(f"livespan: run {run_id}: {text}"),
        )
        supervised = supervisor.run()
    result = _result(supervised, run_id, project, _again(where, run_id, project, cwd, command))
    if output is OutputForm.TEXT:
        _tell(result)
    print_result(result, output)
    return result.exit_code


def _enter(folder: Path) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise NotFound(f"it cannot be entered: {error.strerror}", subject=str(folder)) from error


def _environment(where: Where, run_id: str, project: str) -> dict[str, str]:
    own = {
        "LIVESPAN_RUN_ID": run_id,
        "LIVESPAN_PROJECT": project,
        "LIVESPAN_HOME": str(where.home.root),
        "PWD": os.getcwd(),
    }
    if where.endpoint:
        own["LIVESPAN_ENDPOINT"] = where.endpoint
    given = {**os.environ, **own}
    for point in sorted(entry_points(group=_ENVIRONMENTS), key=lambda point: point.name):
        given.update(point.load()(given))
    return given


def _again(where: Where, run_id: str, project: str, cwd: Path | None, command: tuple[str, ...]) -> str:
    """Return the command that starts the same again."""
    words = ["livespan", "run", *shlex.split(where.flags), "--id", run_id]
    if project != "default":
        words += ["--project", project]
    if cwd is not None:
        words += ["--cwd", str(cwd)]
    return shlex.join([*words, "--", *command])


def _result(supervised: Supervised, run_id: str, project: str, command: str) -> RunResult:
    verdict = supervised.verdict
    return RunResult(
        run_id=run_id,
        project=project,
        outcome=verdict.outcome.value,
        exit_code=verdict.exit_code,
        name=verdict.name,
        reason=verdict.reason,
        hint=verdict.hint,
        lives=supervised.lives,
        finished=supervised.finished,
        command=command,
    )


def _tell(result: RunResult) -> None:
    """Say why there is no further start; of a run that is done there is nothing to say."""
    if not result.reason:
        return
    name = f"{result.name}: " if result.name else ""
    note(f"livespan: run {result.run_id}: {name}{result.reason}")
    for line in result.hint.splitlines():
        note(f"  {line}")
    if result.exit_code and result.name not in _NOT_AGAIN:
        note(f"  Start it again: {result.command}")
    sys.stderr.flush()

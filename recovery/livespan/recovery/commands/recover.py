"""`livespan recover`: start again what was interrupted, each run by its recorded command, under `livespan run`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Final

import click

from livespan.collector.options import OutputForm, Where, output_option, project_option, where_options
from livespan.collector.render import Cell, Column, count, note, print_json, print_jsonl, print_table
from livespan.proto.errors import EXIT_CODES, ErrorKind, InvalidInput
from livespan.recovery.commands.limit_options import limit_options, limit_words
from livespan.recovery.supervision.children import Children
from livespan.recovery.supervision.patience import Limits
from livespan.recovery.supervision.results import Recovered

__all__ = ["recover"]

_STYLES: Final = {"recovered": "green", "finished": "green", "skipped": "yellow"}


@click.command(short_help="Start again what was interrupted.")
@click.argument("runs", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All interrupted runs.")
@click.option("--failed", is_flag=True, help="With --all: those too that their program ended by an error.")
@click.option(
    "--in-doubt", is_flag=True, help="Start runs in doubt too: tools with a probe or a retry settle it themselves."
)
@project_option("Only runs of this project.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="This many at once.")
@limit_options
@output_option
@where_options
def recover(
    where: Where,
    output: OutputForm,
    runs: tuple[str, ...],
    every: bool,
    failed: bool,
    in_doubt: bool,
    project: str,
    jobs: int,
    limits: Limits,
) -> int:
    """Start RUNS again, or --all that was interrupted: each by its recorded command, in its folder.

    \b
      livespan recover --all
      livespan recover order-17 order-18 --jobs 2
      livespan recover --all -o json | jq '.[] | select(.outcome != "recovered")'

    The environment is this command's own: names that were set when a run was begun and are not now are warned about
    (values were never recorded). Each program is supervised as by `livespan run`, whose limits may be given here.
    Runs in doubt are skipped, with what to do. Programs write to stderr; stdout is the summary.

    Exit code: 0 where all is recovered, or nothing was to do; else that of the runs that are not, 1 where they differ;
    6 where damaged files of the lake may hold others.
    """
    if bool(runs) is every:
        raise InvalidInput("name runs, or say --all", hint="livespan recover --all")
    with Children() as children:
        from livespan.recovery.supervision.recovering import Recovering, Wanted

        recovering = Recovering(where, children, limit_words(limits), jobs, note, dict(os.environ))
        results = recovering.recover(Wanted(runs, project, failed=failed, in_doubt=in_doubt))
    match output:
        case OutputForm.JSON:
            print_json(results)
        case OutputForm.JSONL:
            print_jsonl(results)
        case OutputForm.TEXT:
            _print(results)
    codes = {result.exit_code for result in results} - {0}
    if recovering.left_out:
        codes.add(EXIT_CODES[ErrorKind.DAMAGED])
    return codes.pop() if len(codes) == 1 else (EXIT_CODES[ErrorKind.INTERNAL] if codes else 0)


def _print(results: Sequence[Recovered]) -> None:
    if not results:
        note("Nothing is interrupted.")
        return
    columns = [
        Column("RUN", elastic=True),
        Column("WAS"),
        Column("NOW"),
        Column("LIVES", right=True),
        Column("WHY", elastic=True),
    ]
    rows = [
        [
            Cell(result.run_id, "bold"),
            Cell(result.was.replace("_", " ")),
            Cell(result.outcome.replace("_", " "), _STYLES.get(result.outcome, "red")),
            Cell(count(result.lives)),
            Cell(f"{result.name}: {result.reason}" if result.name else result.reason),
        ]
        for result in results
    ]
    print_table(columns, rows)
    for result in results:
        if result.hint and result.exit_code:
            note(f"\n{result.run_id}")
            for line in result.hint.splitlines():
                note(f"  {line}")
            if result.argv:
                note(f"  It was started by: cd {shlex.quote(result.cwd)} && {shlex.join(result.argv)}")

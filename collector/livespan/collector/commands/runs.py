"""`livespan runs`: what ran, and what became of each step."""

from __future__ import annotations

import click

from livespan.collector.commands.tail import tail
from livespan.collector.options import OutputForm, Where, output_option, project_option, where_options
from livespan.collector.query.shapes import RunSummary, ShownRun
from livespan.collector.render import (
    Cell,
    Column,
    count,
    duration,
    moment,
    note,
    on_terminal,
    print_json,
    print_jsonl,
    print_table,
    printable,
    styled,
)
from livespan.collector.run_ending import ending_lines
from livespan.collector.run_tree import COLUMNS, STATUS_STYLES, doubt_lines, heading, run_duration_ms, tree_rows
from livespan.proto.errors import EXIT_CODES, ErrorKind
from livespan.proto.node import RunStatus

__all__ = ["runs"]


def _tags(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        key, equals, rest = value.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE.")
        if found.setdefault(key, rest) != rest:
            raise click.BadParameter(f"{key} is given twice, and a run has one value of it.")
    return found


@click.group(short_help="List, show and follow runs.")
def runs() -> None:
    """List, show and follow runs.

    \b
      livespan runs list --limit 5
      livespan runs list --status interrupted --tag tier=gold --session chat-9
      livespan runs show @last
      livespan runs tail
      livespan runs list -o json | jq '.[] | select(.status == "in_doubt").run_id'
    """


runs.add_command(tail)


@runs.command("list")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="At most this many, newest first; 0 = all.")
@click.option("--status", type=click.Choice([status.value for status in RunStatus]), help="Only runs that stand so.")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_tags,
    help="Only runs with this tag; may be repeated.",
)
@click.option("--session", default="", help="Only runs of this conversation.")
@project_option("Only runs of this project.")
@output_option
@where_options
def list_runs(
    where: Where,
    output: OutputForm,
    limit: int,
    status: str | None,
    tags: dict[str, str],
    session: str,
    project: str,
) -> None:
    """List runs, newest first.

    A number behind the status counts effects (a card charged, a mail sent) that are in doubt: started, and their
    outcome is not known. A run that is done may have some, where its program went on past them.

    Exit code 6 where a file of the lake is damaged: what it holds is left out, and the file is named.
    """
    import msgspec

    from livespan.collector.client import damage_hint, open_query  # grpc costs 70 ms that --help need not pay
    from livespan.proto.v1.livespan_pb2 import ListRunsRequest

    with open_query(where) as query:
        wanted = ListRunsRequest(project=project, limit=limit, status=status or "", session=session, tags=tags)
        reply = query.ListRuns(wanted)
    answer = reply.json
    found = msgspec.json.decode(answer, type=list[RunSummary])
    match output:
        case OutputForm.JSON:
            print_json(msgspec.Raw(answer))
        case OutputForm.JSONL:
            print_jsonl(msgspec.json.decode(answer, type=list[msgspec.Raw]))
        case OutputForm.TEXT if found:
            _print_runs(found)
        case OutputForm.TEXT if status or tags or session:
            note("No such runs.")
        case OutputForm.TEXT:
            note(f"No runs yet{f' in project {project}' if project else ''}.")
            note('  `livespan demo` makes one; in a program, `with livespan.instrumentation.run("my-run"):` does.')
    if reply.damaged:
        note(f"What damaged files of the lake hold is left out. {damage_hint(reply.damaged)}")
        click.get_current_context().exit(EXIT_CODES[ErrorKind.DAMAGED])


@runs.command("show")
@click.argument("run")
@project_option("Only runs of this project.")
@output_option
@where_options
def show_run(where: Where, output: OutputForm, run: str, project: str) -> None:
    """Show the steps of RUN: an id, the unique beginning of one, or @last.

    \b
      RECORDED     answered from the record, not run again
      RE-EXECUTED  run again by the newest attempt
      IN DOUBT     an effect that was started and whose outcome is not known

    Of a run that is not done the heading says why its newest life is over: what stopped it, its error, or that its
    process is gone.

    JSONL has the run on the first line and a node on each that follows. The exit code is 5 where an effect is in
    conflict: settled one way, and its own end, which came later, says another.
    """
    import msgspec

    from livespan.collector.client import find_run, open_query
    from livespan.proto.v1.livespan_pb2 import ShowRunRequest

    with open_query(where) as query:
        answer = query.ShowRun(ShowRunRequest(run=find_run(query, run, project))).json
    match output:
        case OutputForm.JSON:
            print_json(msgspec.Raw(answer))
        case OutputForm.JSONL:
            parts = msgspec.json.decode(answer, type=dict[str, msgspec.Raw])
            nodes = msgspec.json.decode(parts["nodes"], type=list[msgspec.Raw])
            print_jsonl([{"run": parts["run"]}, *({"node": node} for node in nodes)])
        case OutputForm.TEXT:
            _print_run(msgspec.json.decode(answer, type=ShownRun), where.flags)
    if any(node.conflict for node in msgspec.json.decode(answer, type=ShownRun).nodes):
        click.get_current_context().exit(EXIT_CODES[ErrorKind.CONFLICT])


def _print_runs(found: list[RunSummary]) -> None:
    several = len({run.project for run in found}) > 1
    columns = [
        Column("RUN", elastic=True),
        *([Column("PROJECT", elastic=True)] if several else []),
        Column("STATUS"),
        Column("STARTED"),
        Column("TOOK", right=True),
        Column("NODES", right=True),
        Column("EFFECTS", right=True),
        Column("TOKENS", right=True),
    ]
    rows = [
        [
            Cell(run.run_id, "bold"),
            *([Cell(run.project)] if several else []),
            Cell(_status(run), STATUS_STYLES.get(run.status, "")),
            Cell(moment(run.started_at)),
            Cell(duration(run_duration_ms(run))),
            Cell(count(run.nodes)),
            Cell(count(run.effects)),
            Cell(count(run.input_tokens + run.output_tokens)),
        ]
        for run in found
    ]
    print_table(columns, rows)


def _status(run: RunSummary) -> str:
    status = run.status.replace("_", " ")
    return f"{status} ({run.in_doubt})" if run.in_doubt else status


def _print_run(shown: ShownRun, flags: str) -> None:
    run = shown.run
    status = styled(run.status.replace("_", " "), STATUS_STYLES.get(run.status, ""))
    click.echo(f"{styled(printable(run.run_id), 'bold')}  {status}")
    for line in heading(run):
        click.echo(styled(line, "dim"))
    for line in ending_lines(run, flags):
        click.echo(line)
    click.echo()
    print_table(COLUMNS, tree_rows(shown))
    doubt = doubt_lines(shown, flags)
    if doubt:
        click.echo()
        for index, line in enumerate(doubt):
            click.echo(styled(line, "bold red") if index == 0 and on_terminal() else line)

"""`livespan plan`: what a resumed run would do with each node, and why."""

from __future__ import annotations

import click

from livespan.collector.options import OutputForm, Where, output_option, project_option, where_options
from livespan.proto.errors import EXIT_CODES, ErrorKind, NotFound

__all__ = ["plan"]


@click.command(short_help="Show what a resumed run would do with each step, and why.")
@click.argument("run")
@project_option("The run's project.")
@output_option
@where_options
@click.pass_context
def plan(context: click.Context, where: Where, output: OutputForm, run: str, project: str) -> None:
    """Show what becomes of each step of RUN when its program is started again: an id, the beginning of one, or @last.

    \b
      RESTORE   a branch goes on from the state taken here, where the program restores it
      REUSE     answered from the record: not run, or paid for, again
      REDO      run again: unfinished and harmless, or its failure ended the run
      SKIP      an effect that is not run again
      IN_DOUBT  an effect that was started and whose outcome is not known
      CONFLICT  an effect that was settled one way, and whose own end says another

    Nothing is changed. The exit code is 5 where something is in doubt or in conflict, 3 where there is no such run.
    JSON is {run_id, found, branches: [{scope, resume_node_id, state_bytes}], decisions: [{node_id, type, name,
    decision, reason}], in_doubt, conflicts, tail_unknown}; JSONL has {plan} without its decisions on the first line
    and a {decision} on each that follows.
    """
    import msgspec

    from livespan.collector.client import find_run, open_target
    from livespan.collector.query.shapes import ShownRun
    from livespan.collector.render import print_json, print_jsonl
    from livespan.proto.v1.livespan_pb2 import PlanRequest, ShowRunRequest
    from livespan.proto.v1.livespan_pb2_grpc import QueryStub, RecoveryStub
    from livespan.recovery.commands.plan_page import print_plan
    from livespan.recovery.planner import Plan

    with open_target(where) as channel:
        query = QueryStub(channel)
        ref = find_run(query, run, project)
        answer = RecoveryStub(channel).Plan(PlanRequest(run=ref)).json
        text = output is OutputForm.TEXT
        shown = msgspec.json.decode(query.ShowRun(ShowRunRequest(run=ref)).json, type=ShownRun) if text else None
    found = msgspec.json.decode(answer, type=Plan)
    if not found.found:
        raise NotFound("there is no such run", subject=f"run {run}", hint="`livespan runs list` shows the runs.")
    if shown is not None:
        print_plan(found, shown, where.flags)
    elif output is OutputForm.JSON:
        print_json(msgspec.Raw(answer))
    else:
        parts = msgspec.json.decode(answer, type=dict[str, msgspec.Raw])
        decisions = msgspec.json.decode(parts.pop("decisions"), type=list[msgspec.Raw])
        print_jsonl([{"plan": parts}, *({"decision": each} for each in decisions)])
    if found.in_doubt or found.conflicts:
        context.exit(EXIT_CODES[ErrorKind.CONFLICT])

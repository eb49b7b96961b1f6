"""`livespan cancel`: say that a run shall start nothing any more."""

from __future__ import annotations

import getpass

import click

from livespan.collector.options import OutputForm, Where, output_option, project_option, where_options

__all__ = ["cancel"]


@click.command()
@click.argument("run")
@project_option("The run's project.")
@output_option
@where_options
def cancel(where: Where, output: OutputForm, run: str, project: str) -> None:
    """Say that RUN shall start nothing any more: a whole id, or @last.

    A process that runs it gets no permission for another effect from now on, and is stopped at its next step once it
    has renewed its lease, which takes five seconds at most. What is under way then is not interrupted: it ends, and its
    end is recorded. A run that nobody runs is not resumed: opening it is refused.

    \b
      livespan cancel order-17
      livespan cancel @last -o json
    """
    from livespan.collector.client import find_run, open_target
    from livespan.collector.render import note, print_result
    from livespan.proto.v1.livespan_pb2 import CancelRequest
    from livespan.proto.v1.livespan_pb2_grpc import QueryStub, RecoveryStub

    with open_target(where) as channel:
        ref = find_run(QueryStub(channel), run, project, whole=True)
        answer = RecoveryStub(channel).Cancel(CancelRequest(run=ref, by=f"cancel by {getpass.getuser()}"))
    if output is OutputForm.TEXT:
        note(f"{ref.run_id} is cancelled: it starts no effect any more, and cannot be resumed.")
        if answer.held:
            note("A process runs it now. It is told when it next renews its lease, and stops at its next step.")
    print_result({"run_id": ref.run_id, "project": ref.project, "cancelled": True, "held": answer.held}, output)

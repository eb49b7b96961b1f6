"""`livespan resolve`: settle doubt about an effect by hand."""

from __future__ import annotations

import getpass

import click

from livespan.collector.options import OutputForm, Where, output_option, project_option, where_options

__all__ = ["resolve"]


@click.command()
@click.argument("run")
@click.argument("node")
@click.option("--done", metavar="JSON", help="The effect happened; JSON is what the tool would have returned.")
@click.option(
    "--not-done", is_flag=True, help="The effect did not happen: it is run when the program is started again."
)
@project_option("The run's project.")
@output_option
@where_options
def resolve(
    where: Where, output: OutputForm, run: str, node: str, done: str | None, not_done: bool, project: str
) -> None:
    """Say what became of the effect NODE of RUN, which was started and never heard of again.

    Look it up where the effect would show (the provider's page, the ledger), then say it, and start the program again.

    \b
      livespan resolve order-17 4f0c --done '{"receipt": "r-91"}'
      livespan resolve @last 4f0c --not-done
    """
    from livespan.collector.client import find_run, open_target
    from livespan.collector.render import note, print_result
    from livespan.proto.errors import InvalidInput
    from livespan.proto.v1.livespan_pb2 import ResolveRequest
    from livespan.proto.v1.livespan_pb2_grpc import QueryStub, RecoveryStub

    if (done is None) is not not_done:
        raise InvalidInput(
            "say either --done JSON or --not-done",
            hint="Ask the provider first: `livespan runs show` has the key under which it may know the effect.",
        )
    with open_target(where) as channel:
        ref = find_run(QueryStub(channel), run, project)
        answer = RecoveryStub(channel).Resolve(
            ResolveRequest(
                run=ref,
                node_id=node,
                done=not not_done,
                output=(done or "").encode(),
                by=f"resolve by {getpass.getuser()}",
            )
        )
    if output is OutputForm.TEXT:
        note(f"{answer.node_id} of {ref.run_id} is settled: {'not done' if not_done else 'done'}.")
        note("Start the program again with the same run id: it goes on from there.")
    print_result({"run_id": ref.run_id, "node_id": answer.node_id, "done": not not_done}, output)

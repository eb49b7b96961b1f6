"""Makes the golden lake: `golden_lake.py FOLDER`; not a test. Three publications of four runs: one that ended well, one
whose effect is in doubt, one whose doubt was settled, one that somebody else's tracer told of.
"""

from __future__ import annotations

import sys
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Span

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.collector.stand import START_NS, Stand, Writer, node

from livespan.proto import attributes as names
from livespan.proto.ids import trace_id
from livespan.proto.record import RecordKind
from livespan.proto.span import Scalar, WireSpan, resource_bytes

LARGE = b'{"order":"' + b"lots of text " * 2000 + b'"}'
STATE = b"a state of some length " * 900


def foreign() -> WireSpan:
    """Return a span that is no record of ours."""
    span = Span(trace_id=trace_id("shop", "theirs"), span_id=b"\x07" * 8, name="chat gpt")
    span.start_time_unix_nano, span.end_time_unix_nano = START_NS, START_NS + 7_000_000
    span.attributes.add(key="gen_ai.request.model").value.string_value = "gpt"
    raw = span.SerializeToString(deterministic=True)
    assert len(raw) < 128, "its length is one byte"
    head = b"\x12" + bytes([len(raw)])
    resource = resource_bytes({names.PROJECT: "shop", names.RUN_ID: "theirs"})
    return WireSpan(resource, (head, raw), len(head) + len(raw))


def publish_all(folder: Path) -> None:
    """Append and publish three times."""
    stand = Stand(folder)
    done, doubtful, settled = Writer("order-17", "a1"), Writer("order-18", "b1"), Writer("order-19", "c1")
    for writer in (done, doubtful, settled):
        stand.send(writer.lease("granted"), writer.root_record(RecordKind.STARTED))
    prompt: dict[str, Scalar] = {names.NODE_TYPE: "PROMPT", names.EFFECT: False, names.INPUT_TOKENS: 42}
    answer = ((names.OUTPUT, b'[{"role":"assistant","parts":[]}]'),)
    stand.send(done.started(node(1), effect=False, kind="PROMPT", given=LARGE))
    stand.send(done.span(RecordKind.ENDED, node(1), prompt, name="chat gpt", texts=answer))
    stand.send(done.started(node(2)), done.checkpoint(1, STATE))
    stand.publish()
    stand.send(done.ended(node(2), '"bezahlt ✓"'.encode()), done.root_record(RecordKind.ENDED), done.lease("released"))
    stand.send(doubtful.started(node(3)), settled.started(node(4)))
    stand.send(foreign())
    stand.publish(last=True)
    stand.send(doubtful.lease("died"), settled.lease("died"))
    stand.send(settled.settled(node(4), "done", b'{"id":7}'), done.checkpoint(2, STATE + b"changed"))
    stand.publish(last=True)
    stand.crash()


if __name__ == "__main__":
    publish_all(Path(sys.argv[1]))

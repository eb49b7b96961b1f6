"""What a collector met of damage, and what of its work fails, is what `livespan doctor` says of it."""

from __future__ import annotations

from pathlib import Path

from tests.collector.stand import Stand, Writer, node, request
from tests.collector.transports import Answer, GrpcTransport
from tests.livespan_home import LiveHome, wait_until

from livespan.collector.checks import check_collector
from livespan.collector.forward.target import parse_target
from livespan.collector.settings import CollectorSettings
from livespan.proto.finding import Finding
from livespan.proto.rpc import open_channel
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub


def faults(target: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_collector(target) if finding.ok is False}


def flip(path: Path, at: int) -> None:
    """Flip one bit of a file in place."""
    with path.open("r+b") as file:
        file.seek(at)
        [byte] = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 8]))


def test_what_a_collector_met_of_damage_is_a_fault_with_file_and_offset(live: LiveHome) -> None:
    stand = Stand(live.home.root)
    writer = Writer()
    for number in (1, 2):
        stand.send(writer.started(node(number)), writer.ended(node(number)))
        stand.publish()
    stand.send(writer.started(node(3)))
    stand.send(writer.started(node(4)))
    stand.crash()
    [segment] = [path for path in live.home.log.glob("*.seg") if any(path.read_bytes()[:4096])]
    second = segment.read_bytes().index(b"LSFRAME\n", 8)
    flip(segment, second + 60)
    served = live.serve()
    target = served.collector.target
    assert list(faults(target)) == ["log"]
    nodes = sorted((live.home.lake / "nodes").glob("*.parquet"))[-1]
    flip(nodes, nodes.stat().st_size // 2)
    with open_channel(target) as channel:
        assert QueryStub(channel).ListRuns(pb.ListRunsRequest(limit=5)).damaged == [str(nodes)]
    found = faults(target)
    assert list(found) == ["log", "lake"]
    assert f"{segment}@{second}" in found["log"].detail
    assert f"{nodes}@0" in found["lake"].detail
    assert all("livespan verify" in finding.hint for finding in found.values())
    flip(nodes, nodes.stat().st_size // 2)
    assert list(faults(target)) == ["log"], "it was put back"


def test_a_publication_and_a_forwarding_that_fail_are_faults(live: LiveHome) -> None:
    served = live.serve(CollectorSettings(publish_s=0.1), forward=parse_target("http://127.0.0.1:9"))
    target = served.collector.target
    assert faults(target) == {}
    nodes = live.home.lake / "nodes"
    nodes.rename(live.home.lake / "moved")
    nodes.write_text("a file where a folder should be")
    writer = Writer()
    way = GrpcTransport(target)
    assert way.send(request(writer.ended(node(1)))) == Answer("OK")
    way.close()
    wait_until(lambda: set(faults(target)) == {"publication", "forwarding"})
    nodes.unlink()
    (live.home.lake / "moved").rename(nodes)
    wait_until(lambda: set(faults(target)) == {"forwarding"})

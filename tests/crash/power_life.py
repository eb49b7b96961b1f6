"""One life of a whole collector whose machine loses power: `python -m tests.crash.power_life --home H --witness W ...`.

    exporter thread ── OTLP ──▶ collector (log, publisher, lake) ──▶ ForgetfulDisk over the home
          └─ after each acknowledgement: one line to the witness, outside of that disk

At the chosen instant the disk forgets whatever was not synced: log, Parquet files, table log, names in folders. The
process is gone in the same moment, with every acknowledgement that had not arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

from tests.crash.witness import Line, Witness, json_digest
from tests.power_cut import ForgetfulDisk

from livespan.collector.log import LogProtections
from livespan.collector.server import Collector
from livespan.collector.settings import CollectorSettings
from livespan.instrumentation.client import CollectorClient
from livespan.proto import attributes as names
from livespan.proto.errors import LivespanError
from livespan.proto.home import Home
from livespan.proto.ids import ROOT_SCOPE, call_key, input_digest, node_id, scope_node_id, trace_id
from livespan.proto.node import NodeType
from livespan.proto.record import RecordKind
from livespan.proto.rendezvous import locate
from livespan.proto.span import (
    JournalSpan,
    Scalar,
    WireSpan,
    attribute_bytes,
    export_request,
    resource_bytes,
    wire_span,
)

CUT = 77
"""Exit code: the power was cut."""
_NOW_NS = 1_769_850_000_000_000_000


class Power:
    """Cuts it, once: at the `nth` passing of a step, or when told."""

    def __init__(self, disk: ForgetfulDisk, at: str, nth: int, keep: random.Random | None) -> None:
        self._disk = disk
        self._at = at
        self._left = nth
        self._keep = keep

    def passed(self, step: str) -> None:
        if step == self._at:
            self._left -= 1
            if self._left == 0:
                self.cut()

    def cut(self) -> NoReturn:
        self._disk.cut(self._keep)
        os._exit(CUT)


class Exporter:
    """Sends one run's records, a few to a request, and witnesses what was acknowledged."""

    def __init__(self, run: str, life: int, witness: Witness, coin: random.Random) -> None:
        self._witness = witness
        self._coin = coin
        self._life = life
        self._trace = trace_id("default", run)
        self._writer = os.urandom(8).hex()
        self._seq = 0
        self._resource = resource_bytes(
            {
                names.PROJECT: "default",
                names.RUN_ID: run,
                names.ATTEMPT: life,
                names.EPOCH: life,
                names.WRITER: self._writer,
            }
        )

    def send(self, client: CollectorClient, number: int) -> None:
        """Send one call, its start and its end in one request or in two, and perhaps a checkpoint."""
        label = f"life{self._life}.{number}"
        given = {"label": label}
        output = {"answer": os.urandom(8).hex(), "text": os.urandom(self._coin.choice((20, 400, 12_000))).hex()}
        data = json.dumps(given).encode()
        key = call_key(ROOT_SCOPE, NodeType.PROMPT.value, "think", input_digest(data), "", 0)
        node = node_id(self._trace, key, 0)
        about: dict[str, Scalar] = {names.SCOPE: ROOT_SCOPE, names.CALL_KEY: key, names.TRY: 0, names.OCCURRENCE: 0}
        started = self._span(RecordKind.STARTED, node, about, ((names.INPUT, data),))
        ended = self._span(
            RecordKind.ENDED, node, {names.CALL_KEY: key, names.TRY: 0}, ((names.OUTPUT, json.dumps(output).encode()),)
        )
        line = Line("returned", self._life, label, "think", node.hex(), "", json_digest(given), json_digest(output))
        if self._coin.random() < 0.3:
            client.export(export_request([started]))
            client.export(export_request([ended]))
        else:
            client.export(export_request([started, ended]))
        self._witness.write(line)
        if self._coin.random() < 0.3:
            self._checkpoint(client, node, label)

    def _checkpoint(self, client: CollectorClient, node: bytes, label: str) -> None:
        state, name = os.urandom(self._coin.randrange(1, 20_000)), os.urandom(8).hex()
        about: dict[str, Scalar] = {names.SCOPE: ROOT_SCOPE, names.CHECKPOINT_ID: name, names.CHECKPOINT_COUNTERS: "{}"}
        client.export(export_request([self._span(RecordKind.CHECKPOINT, node, about, (), state)]))
        digest = sha256(state).hexdigest()
        self._witness.write(Line("checkpoint", self._life, label, "checkpoint", state=digest, checkpoint=name))

    def _span(
        self,
        kind: RecordKind,
        node: bytes,
        about: dict[str, Scalar],
        texts: tuple[tuple[str, bytes], ...],
        state: bytes = b"",
    ) -> WireSpan:
        self._seq += 1
        ended = 0 if kind is RecordKind.STARTED else _NOW_NS + self._seq
        fixed = attribute_bytes({names.NODE_TYPE: NodeType.PROMPT.value, names.RECORD: kind.value})
        parent = scope_node_id(self._trace, ROOT_SCOPE)
        span = JournalSpan(
            self._resource, self._trace, node, parent, "think", _NOW_NS, ended, False, fixed, about, texts
        )
        return wire_span(span, self._writer, self._seq, state)


async def live(told: argparse.Namespace) -> None:
    """Serve until the power is cut, or the exporter has sent all it has."""
    coin = random.Random(told.seed)
    home = Home(told.home)
    home.create()
    disk = ForgetfulDisk(home.root)
    power = Power(disk, told.at, told.nth, random.Random(told.seed) if told.keep else None)
    collector = Collector(
        home,
        CollectorSettings(segment_bytes=64 << 10, publish_s=0.03),
        socket=told.socket,  # outside of the disk that forgets: a socket is no file that can be read
        disk=disk,
        faults=power.passed,
        log_protections=LogProtections(sync_before_ack=told.without != "sync"),
    )
    if told.at == "random":
        delay_s = coin.uniform(0.02, 0.8)
        timer = threading.Timer(delay_s, power.cut)
        timer.daemon = True
        timer.start()
    await collector.start()
    await asyncio.to_thread(export, told, home, coin)
    power.cut()


def export(told: argparse.Namespace, home: Home, coin: random.Random) -> None:
    """Send 120 calls, one after the other, a moment apart."""
    address = locate(home)
    assert address is not None
    client = CollectorClient(address.target)
    exporter = Exporter(told.run, told.life, Witness(told.witness), coin)
    for number in range(120):
        try:
            exporter.send(client, number)
        except LivespanError as error:
            print(f"refused: {error}", file=sys.stderr)
            return
        time.sleep(coin.uniform(0, 0.004))


def main(arguments: Sequence[str]) -> int:
    """Live once; the exit code is always CUT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--witness", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--run", default="powerless")
    parser.add_argument("--life", type=int, default=1)
    parser.add_argument("--at", default="random")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--without", default="")
    told: Any = parser.parse_args(arguments)
    asyncio.run(live(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

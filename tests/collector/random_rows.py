"""Rows of `nodes` at random, of few runs and nodes, so that all that the views tell apart comes together often."""

from __future__ import annotations

import random
from collections.abc import Iterator

from livespan.collector.lake.rows import Row

__all__ = ["random_rows"]

_START_US = 1_769_850_000_000_000
_KINDS = {
    "wild": ("started", "ended", "ended", "ended", "foreign", "settled", "attempt", "lease", "checkpoint", "gap"),
    "foreign": ("foreign",),
    "plain": ("started", "ended", "ended", "lease", "checkpoint", "attempt"),
    "thread": ("thread",),
}
_EVENTS = ("granted", "released", "died", "expired", "cancelled")


def random_rows(coin: random.Random, count: int) -> Iterator[Row]:
    """Yield rows in the order of their `log_seq`; each run has a temper of its own, so that some stay plain."""
    runs = [f"run-{number}'" for number in range(coin.randrange(3, 9))]
    tempers = {run: coin.choice(["plain", "plain", "foreign", "wild", "thread"]) for run in runs}
    last: dict[tuple[object, ...], Row] = {}
    seen: list[Row] = []
    for seq in range(1, count + 1):
        # Runs go on for a while and end, as they do in a lake.
        first = len(runs) * seq // (count + 1)
        run = runs[coin.randrange(max(0, first - 1), min(len(runs), first + 2))] if coin.random() < 0.95 else runs[0]
        temper = tempers[run]
        if seen and temper == "wild" and coin.random() < 0.05:
            again = coin.choice(seen)
            yield {**again, "log_seq": seq}
            continue
        row = _row(coin, run, temper, seq)
        key = (run, row["generation"], row["node_id"])
        started = last.get(key)
        if row["kind"] == "ended" and started is not None and coin.random() < 0.8:
            row["started_seq"] = started["log_seq"]
        last[key] = row
        seen.append(row)
        yield row


def _row(coin: random.Random, run: str, temper: str, seq: int) -> Row:
    wild = temper == "wild"
    kind = coin.choice(_KINDS[temper])
    number = coin.randrange(4) if wild else seq if coin.random() < 0.9 else coin.randrange(3)
    started_ns = (_START_US + coin.randrange(5) * 1000) * 1000
    is_open = kind in ("started", "lease", "checkpoint")
    ended_ns = None if is_open else started_ns + coin.randrange(1, 5) * 1_000_000
    type_ = coin.choice(["PROMPT", "TOOL", "BRANCH"]) if wild or kind == "foreign" else coin.choice(["PROMPT", "TOOL"])
    status = "RUNNING" if kind == "started" else coin.choice(["SUCCESS", "SUCCESS", "FAILED"] if wild else ["SUCCESS"])
    row: Row = {
        "project": coin.choice(["shop", "shop", "café"]) if wild else "shop",
        "run_id": run,
        "generation": coin.choice([0, 0, 0, 1]),
        "session": coin.choice([None, "s1"]),
        "tags": coin.choice([None, '{"a":"b"}']),
        "kind": kind,
        "trace_id": "t",
        "node_id": f"{kind == 'attempt' and not wild}{number:015x}",
        "parent_id": coin.choice([None, "p"]),
        "root": coin.choice([None, False, True]),
        "type": type_,
        "name": "n",
        "status": "" if kind in ("lease", "checkpoint", "gap", "thread") else status,
        "started_at": started_ns // 1000,
        "ended_at": ended_ns and ended_ns // 1000,
        "started_ns": started_ns,
        "ended_ns": ended_ns,
        "output": coin.choice([None, '"ok"', '"other"']),
        "output_digest": coin.choice([None, None, "d1"]) if wild else None,
        "error_type": "E" if status == "FAILED" else None,
        "effect": coin.choice([None, False, True]) if wild else type_ == "TOOL" and kind == "ended",
        "not_done": coin.choice([None, False, True]) if wild else None,
        "idempotency_key": coin.choice([None, "i1", "i2"]),
        "call_key": coin.choice([None, "c1", "c2"]) if wild else f"c{number}",
        "try_number": coin.choice([None, 0, 1, 2]) if wild else 0,
        "attempt": coin.randrange(1, 3),
        "epoch": coin.randrange(1, 3),
        "writer": coin.choice(["", "w1", "w2"]) if wild else "" if kind == "foreign" else f"{run}-w",
        "writer_seq": coin.randrange(20) if wild else seq,
        "log_id": "log",
        "log_seq": seq,
        "attributes": '{"enduser.id":"u"}' if kind == "attempt" else None,
    }
    if kind == "foreign" or wild:
        row |= {"framework": coin.choice([None, "openai", "langchain"]), "model": coin.choice([None, "m1"])}
        row |= {"input_tokens": coin.choice([None, 8, 9]), "output_tokens": coin.choice([None, 30])}
    if kind == "settled":
        row |= {"settled": coin.choice(["done", "not_done"]), "settled_by": "resolve"}
    if kind == "lease":
        row |= {"lease_event": coin.choice(_EVENTS)}
    if kind == "thread":
        row |= {"name": coin.choice(["checkpoint", "checkpoint", "writes", "deleted"]), "effect": None}
        row |= {"checkpoint_id": coin.choice(["", "c1", "c2", "c3"]), "scope": coin.choice(["", "inner"])}
        row |= {"metadata": '{"step":1}', "state_digest": f"s{seq}", "state_size_bytes": 3}
    if kind == "checkpoint" or (kind == "foreign" and coin.random() < 0.1):
        row |= {"state_digest": f"s{seq}", "state_size_bytes": 3}
    return row

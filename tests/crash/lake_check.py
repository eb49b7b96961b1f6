"""What programs saw, compared with what the lake says: `python tests/crash/lake_check.py VIEWS.sql < runs.json`.

A process of its own with nothing but duckdb: it reads the lake as any user can. `runs.json` is `[{"run", "witness",
"whole", "ended"}]`; `whole` says that the last life made every call, so that the lake may hold no call that nobody saw;
`ended`, that the run ended well (as all do where it is not said).

Printed is one JSON object: `problems` by run, and what was compared. Missing: seen and not in the lake, or not equal
there. Duplicate: the same node, answer or checkpoint twice. Corrupt: bytes that do not have their digest.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb

CONTENT = "SELECT run_id, digest, bytes FROM content WHERE run_id IN (SELECT unnest(?))"
NODES = """
SELECT run_id, node_id, kind, name, status, input, input_digest, output, output_digest, idempotency_key, settled
FROM nodes WHERE type IN ('PROMPT', 'TOOL', 'MEMORY') AND run_id IN (SELECT unnest(?))"""
CHECKPOINTS = (
    "SELECT run_id, checkpoint_id, digest, size_bytes, state FROM checkpoints WHERE run_id IN (SELECT unnest(?))"
)
RUNS = "SELECT run_id, status FROM runs WHERE run_id IN (SELECT unnest(?))"

Row = dict[str, Any]


def json_digest(text: str) -> str:
    return sha256(json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Lake:
    """What the lake says of the runs that were asked for."""

    def __init__(self, views: Path, runs: list[str]) -> None:
        self._connection = duckdb.connect()
        self._connection.execute("SET threads = 1")
        self._connection.execute(views.read_text())
        self.corrupt: Counter[str] = Counter()
        self.contents: dict[tuple[str, str], bytes] = {}
        for row in self._rows(CONTENT, runs):
            if sha256(row["bytes"]).hexdigest() != row["digest"]:
                self.corrupt[row["run_id"]] += 1
            self.contents[row["run_id"], row["digest"]] = row["bytes"]
        self.nodes = self._by_run(NODES, runs)
        self.checkpoints = self._by_run(CHECKPOINTS, runs)
        self.status = {row["run_id"]: row["status"] for row in self._rows(RUNS, runs)}

    def text(self, row: Row, column: str) -> str | None:
        """Return an input or output, from the column or from the content table."""
        if row[column] is not None:
            return str(row[column])
        data = self.contents.get((row["run_id"], row[f"{column}_digest"]))
        return data.decode() if data is not None else None

    def _rows(self, sql: str, runs: list[str]) -> list[Row]:
        cursor = self._connection.execute(sql, [runs])
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _by_run(self, sql: str, runs: list[str]) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self._rows(sql, runs):
            found[row["run_id"]].append(row)
        return found


def check_run(lake: Lake, asked: dict[str, Any], lines: list[dict[str, Any]], counts: Counter[str]) -> list[str]:
    """Return what is wrong with a run; `counts` counts what was compared, and what was found wrong by kind."""
    problems: list[str] = []
    run = asked["run"]

    def wrong(kind: str, what: str) -> None:
        counts[kind] += 1
        problems.append(f"{kind}: {what}")

    if lake.corrupt[run]:
        wrong("corrupt", f"{lake.corrupt[run]} contents do not have their digest")
    if asked.get("ended", True) and lake.status.get(run) != "done":
        wrong("missing", f"the run is {lake.status.get(run)}, and ended well")
    nodes = lake.nodes[run]
    for node, times in Counter(row["node_id"] for row in nodes).items():
        if times > 1:
            wrong("duplicate", f"node {node} stands there {times} times")
    answers: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in nodes:
        given = lake.text(row, "input")
        if given is None:
            wrong("missing", f"the input of node {row['node_id']} ({row['name']})")
            continue
        row["given"] = json_digest(given)
        row["label"] = json.loads(given)["label"]
        if row["status"] == "SUCCESS":
            answers[row["name"], row["label"]].append(row)
    for (name, label), rows in answers.items():
        if len(rows) > 1:
            wrong("duplicate", f"{name} {label} was answered {len(rows)} times")
    seen: set[tuple[str, str]] = set()
    for line in lines:
        if line["what"] == "returned":
            counts["returned"] += 1
            seen.add((line["name"], line["label"]))
            check_answer(lake, line, answers[line["name"], line["label"]], wrong)
        elif line["what"] == "checkpoint":
            counts["checkpoints"] += 1
            check_checkpoint(
                line, [row for row in lake.checkpoints[run] if row["checkpoint_id"] == line["checkpoint"]], wrong
            )
        elif line["what"] == "entered":
            counts["entered"] += 1
            tries = [
                row for row in nodes if row["node_id"] == line["node"] and row["idempotency_key"] == line.get("key")
            ]
            if not tries:
                wrong("unstarted", f"{line['name']} {line['label']} ran without a started record")
    if asked["whole"]:
        for key in answers.keys() - seen:
            if answers[key]:
                wrong("unseen", f"{key} is in the lake, and the last life did not see it")
    for effect, tries in tries_by_key(nodes).items():
        ended = [row for row in tries if row["kind"] == "ended"]
        if len(ended) > 1:
            wrong("duplicate", f"effect {effect} ended {len(ended)} times")
    return problems


def tries_by_key(nodes: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in nodes:
        if row["idempotency_key"]:
            found[row["idempotency_key"]].append(row)
    return found


def check_answer(lake: Lake, line: dict[str, Any], rows: list[Row], wrong: Any) -> None:
    what = f"{line['name']} {line['label']} of life {line['life']}"
    if not rows:
        wrong("missing", what)
        return
    row = rows[0]
    output = lake.text(row, "output")
    if line.get("node") and row["node_id"] != line["node"]:
        wrong("missing", f"{what}: node {line['node']} was seen, {row['node_id']} is there")
    elif row["given"] != line["input"]:
        wrong("missing", f"{what}: its input is another")
    elif output is None or json_digest(output) != line["output"]:
        wrong("missing", f"{what}: its output is another")
    elif line.get("node") and row["settled"]:
        wrong("missing", f"{what}: it was seen to return, and had to be settled ({row['settled']})")


def check_checkpoint(line: dict[str, Any], rows: list[Row], wrong: Any) -> None:
    what = f"checkpoint {line['checkpoint']} ({line['label']})"
    if len(rows) != 1:
        wrong("duplicate" if rows else "missing", what)
        return
    row = rows[0]
    if row["digest"] != line["state"] or row["state"] is None or sha256(row["state"]).hexdigest() != line["state"]:
        wrong("missing", f"{what}: its state is another")


def main(views: str) -> int:
    """Check the runs told on stdin; print what was found."""
    asked = json.load(sys.stdin)
    lake = Lake(Path(views), [one["run"] for one in asked])
    counts: Counter[str] = Counter()
    problems: dict[str, list[str]] = {}
    for one in asked:
        lines = [json.loads(line) for line in Path(one["witness"]).read_bytes().splitlines()]
        found = check_run(lake, one, lines, counts)
        if found:
            problems[one["run"]] = found
    json.dump({"problems": problems, "counts": counts}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

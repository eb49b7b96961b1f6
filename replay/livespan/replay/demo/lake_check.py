"""The demo's last look: what the lake says, read by a process that knows `duckdb` alone, against the ledgers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from livespan.proto.home import Home
from livespan.replay.demo.verdicts import Verdict

__all__ = ["STATEMENT", "LakeCheck", "check_lake"]

STATEMENT: Final = """\
SELECT run_id, status, attempts AS lives,
       (SELECT count(*) FROM llm_calls c WHERE c.run_id = r.run_id AND c.status = 'SUCCESS') AS model_calls,
       (SELECT count(*) FROM effects e WHERE e.run_id = r.run_id AND e.status = 'SUCCESS') AS charges
FROM runs r WHERE project = 'demo' ORDER BY started_at"""
_READ_S: Final = 60.0


class _Row(msgspec.Struct, frozen=True, array_like=True):
    run_id: str
    status: str
    lives: int
    model_calls: int
    charges: int


class _Read(msgspec.Struct, frozen=True):
    columns: list[str]
    rows: list[_Row]
    ours: list[str]


class LakeCheck(msgspec.Struct, frozen=True):
    """What the lake said.

    Attributes:
        runs, lives, model_calls, charges: in the runs of this demo, all together.
        broken: where it does not say what the ledgers say.
    """

    ok: bool
    runs: int
    lives: int
    model_calls: int
    charges: int
    broken: list[str]


def check_lake(home: Home, verdicts: Sequence[Verdict]) -> LakeCheck:
    """Read the lake with no collector running, and compare."""
    script = Path(__file__).with_name("lake_sql.py")
    done = subprocess.run(
        [sys.executable, "-I", str(script), str(home.lake), STATEMENT],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_READ_S,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        return LakeCheck(False, 0, 0, 0, 0, [f"the lake cannot be read with duckdb alone: {last}"])
    read = msgspec.json.decode(done.stdout, type=_Read)
    broken = [f"the process that was to know duckdb alone had loaded {', '.join(read.ours)}"] if read.ours else []
    rows = {row.run_id: row for row in read.rows}
    own = [rows[verdict.run_id] for verdict in verdicts if verdict.run_id in rows]
    for verdict in verdicts:
        row = rows.get(verdict.run_id)
        if row is None:
            broken.append(f"{verdict.run_id} is not in the lake")
        elif (row.status, row.charges) != ("done", verdict.charges):
            said = f"{row.status} with {row.charges} charges"
            broken.append(f"{verdict.run_id} is {said} in the lake, and has {verdict.charges} in the ledger")
    return LakeCheck(
        ok=not broken,
        runs=len(own),
        lives=sum(row.lives for row in own),
        model_calls=sum(row.model_calls for row in own),
        charges=sum(row.charges for row in own),
        broken=broken,
    )

"""Lake format 1, held by files that are never edited: plain DuckDB reads them by the views that were published with
them, and so do our own readers.
"""

from __future__ import annotations

import json
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.collector.recorded import FixedLake
from tests.collector.statements import rows_of

from livespan.collector.disk import SystemDisk
from livespan.collector.lake.read_back import records_of
from livespan.collector.lake.reader import LakeReader
from livespan.collector.lake.schema import CONTENT, NODES
from livespan.collector.lake.table import Table, open_table
from livespan.collector.query.engine import QueryEngine
from livespan.collector.query.values import json_value

GOLDEN = Path(__file__).parent.parent / "golden" / "lake-v1"
PUBLISHED_AT = "/tmp/livespan-golden/lake"
EXPECTED: Any = json.loads((GOLDEN / "expected.json").read_text())
VIEWS = EXPECTED["views"]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The golden lake in a place of its own, its views' paths moved along."""
    with tarfile.open(GOLDEN / "lake.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    lake = tmp_path / "lake"
    views = lake / "views.sql"
    text = views.read_text()
    assert text.count(PUBLISHED_AT) == EXPECTED["files"]["nodes"] + EXPECTED["files"]["content"]
    views.write_text(text.replace(PUBLISHED_AT, str(lake)))
    return lake


def tables(lake: Path) -> tuple[Table, Table]:
    disk = SystemDisk()
    return (
        open_table(lake / "nodes", NODES, EXPECTED["log_id"], disk),
        open_table(lake / "content", CONTENT, EXPECTED["log_id"], disk),
    )


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_plain_duckdb_reads_the_golden_lake_by_its_views(lake: Path, view: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute((lake / "views.sql").read_text())
        rows = connection.execute(VIEWS[view]["sql"]).fetchall()
    assert [[json_value(value) for value in row] for row in rows] == VIEWS[view]["rows"]


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_the_query_engine_reads_the_golden_lake(lake: Path, view: str) -> None:
    nodes, content = tables(lake)
    engine = QueryEngine(FixedLake([], [file.path for file in nodes.files], [file.path for file in content.files]))
    assert rows_of(engine, VIEWS[view]["sql"]) == VIEWS[view]["rows"]


def test_the_golden_tables_are_opened_and_nothing_of_them_is_mended(lake: Path) -> None:
    before = sorted(str(path.relative_to(lake)) for path in lake.rglob("*"))  # seals are made of what has none
    nodes, content = tables(lake)
    assert {"nodes": len(nodes.files), "content": len(content.files)} == EXPECTED["files"]
    assert {"nodes": nodes.watermark, "content": content.watermark} == EXPECTED["watermarks"]
    assert not any(file.may_hold("a run from before") for file in nodes.files), "their bounds are known"
    after = [str(path.relative_to(lake)) for path in lake.rglob("*")]
    assert sorted(name for name in after if "_seals" not in name) == before


def test_the_reader_gives_the_golden_runs_back_as_records(lake: Path) -> None:
    nodes, content = tables(lake)
    reader = LakeReader()
    try:
        for run_id, told in EXPECTED["records"].items():
            rows = reader.run_rows(nodes.files, "shop", run_id, None)
            records = [record for row in rows for record in records_of(row)]
            assert [[r.kind.value, r.node_id.hex(), r.name, r.log_seq] for r in records] == told
        for digest in EXPECTED["digests"]:
            stored = reader.content(content.files, "order-17", digest)
            assert stored is not None
            assert sha256(stored).hexdigest() == digest
    finally:
        reader.close()

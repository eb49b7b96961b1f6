"""Reads a lake as any stranger would: a process with nothing but `duckdb`, no collector running, no code of ours.

    python -I lake_sql.py HOME/lake "SELECT ..."        prints {"columns", "rows", "ours"}

It is started by path, never imported: so it says by `ours` whether any module of Livespan came in all the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb


def main(lake: str, statement: str) -> None:
    """Print the rows of a statement over the lake's views."""
    connection = duckdb.connect()
    connection.execute((Path(lake) / "views.sql").read_text(encoding="utf-8"))
    connection.execute(statement)
    columns = [column[0] for column in connection.description]
    ours = sorted(name for name in sys.modules if name.startswith("livespan"))
    print(json.dumps({"columns": columns, "rows": connection.fetchall(), "ours": ours}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

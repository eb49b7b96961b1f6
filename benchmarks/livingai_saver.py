"""A process that saves with livingai, run by that environment's Python, which holds nothing of ours but this file's
text.

python livingai_saver.py PATH|:memory: STATE_FILE      a line in ─▶ one save ─▶ "SECONDS KEPT" out
"""

from __future__ import annotations

import asyncio
import sys
import time
from importlib import import_module
from pathlib import Path

__all__: list[str] = []


async def _serve(path: str, state: bytes) -> None:
    livingai = import_module("livingai")
    engine = livingai.CheckpointEngine(livingai.SQLiteStore(path))
    text = state[:1024].decode()
    for _ in sys.stdin:
        node = livingai.ExecutionNode(execution_id="bench", type="PROMPT", status="SUCCESS", input=text, output=text)
        began_s = time.perf_counter()
        kept = await engine.save(node, state)
        print(time.perf_counter() - began_s, int(kept), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2]).read_bytes()))

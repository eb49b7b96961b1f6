"""`livespan demo`: agents are killed at the worst moments and start again; what a third party counted decides whether that went well.

    scenarios.py   what is killed where, and what must come of it: data
       │
    plays.py ────▶ stage.py ────▶ plain_agent.py, langgraph_agent.py   one process a life, held at a named point (points.py)
       │              ├─────────▶ collector_process.py                  a collector with a short lease
       │              └─────────▶ the model that counts, the ledger     livespan.replay.testing
       ▼
    verdicts.py ─▶ showing.py          lake_check.py ─▶ lake_sql.py     the last word has a process with `duckdb` alone

`sabotage.py` takes one protection away in the demo's own processes, to show that the counting would notice. None of this is used by
the product.
"""

"""`livespan demo`: agents are killed at the worst moments and start again; a third party counts whether it went well.

    scenarios.py   what is killed where, and what must come of it: data
       │
    plays.py ─▶ stage.py ─▶ life.py ───────▶ plain_agent.py, langgraph_agent.py   held at a named point (points.py)
       │           ├──────▶ served_home.py ▶ drain, collector_process.py           a lease that can be waited for
       │           └──────▶ the model that counts, the ledger                      livespan.replay.testing
       ▼
    verdicts.py ─▶ showing.py      lake_check.py ─▶ lake_sql.py                    a process with `duckdb` alone

`sabotage.py` takes one protection away in the demo's own processes, to show that the counting would notice. The product
uses none of this.
"""

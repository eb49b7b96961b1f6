"""The plan of a run, for people and pages: what a resumed run would do with each node, and why. Pure; reads no file.

RunHistory ─▶ tries.py ─▶ verdicts.py ─▶ decisions.py ─┐
          └─▶ foreign.py (spans of others) ────────────┼─▶ planner.py ─▶ Plan (shapes.py)
          └─▶ scopes.py (branches) ─▶ checkpoints ─────┘
"""

from __future__ import annotations

from livespan.recovery.planner.planner import plan_run
from livespan.recovery.planner.shapes import Decision, Plan, PlannedBranch, PlannedNode, RunHold, no_plan

__all__ = ["Decision", "Plan", "PlannedBranch", "PlannedNode", "RunHold", "no_plan", "plan_run"]

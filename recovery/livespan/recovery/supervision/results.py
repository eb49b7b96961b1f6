"""The JSON of `livespan run` (RunResult) and `livespan recover` ([Recovered, ...]): a documented contract, to which
fields are only added.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

__all__ = ["Recovered", "RunResult"]


class RunResult(msgspec.Struct, frozen=True):
    """What became of one run.

    Attributes:
        outcome: done | stopped | ended | gave_up.
        name: of what stopped it (InDoubt, Divergence, RunHeld, CrashLoop, ...), "" where nothing did.
        lives: how often the program was started here.
        finished: the run has ended well.
        command: starts it again.
    """

    run_id: str
    project: str
    outcome: str
    exit_code: int
    name: str
    reason: str
    hint: str
    lives: int
    finished: bool
    command: str


class Recovered(msgspec.Struct, frozen=True):
    """What became of one run that was to be recovered.

    Attributes:
        was: its status before: interrupted | in_doubt | failed; of a run that was named also done | running | ...
        outcome: recovered | finished (it was already) | skipped | stopped | gave_up | ended | unfinished.
        exit_code: of its `livespan run`; where it was not started, what its reason is worth.
        name: of what stopped it (InDoubt, Divergence, RunHeld, CrashLoop, ...).
        lives: how often the program was started now.
        argv, cwd: the recorded command.
        missing_environment: names that were set when it was begun and are not now.
    """

    run_id: str
    project: str
    was: str
    outcome: str
    exit_code: int
    name: str = ""
    reason: str = ""
    hint: str = ""
    lives: int = 0
    argv: Sequence[str] = ()
    cwd: str = ""
    missing_environment: Sequence[str] = ()

"""Branches: tasks and threads that a run starts get scopes of their own, named so that the next
life names them the same.

    with run -> scope /                      create_task(worker())  -> /~worker.0
                                             create_task(worker())  -> /~worker.1
                                             submit(fetch, url)     -> /~fetch.0
                                             with branch("alice")   -> /@alice
                                             os.fork()              -> /~fork.0

The ordinal counts, per label, what one scope has started, in the order in which that scope's own
code started it: neither the order in which tasks run nor what a library starts beside them shifts
it. Nothing is named where no scope is active.

Here is what Python starts and how it is hooked; what a scope is and how it counts is core/scope.py.
Not named, and so sharing the scope in which they were created: tasks of loops that do not derive
from `asyncio.BaseEventLoop` (uvloop), tasks made by `asyncio.Task(...)` directly, what runs in
`call_soon`, `call_later` and process pools, and under a task factory of the program's own the part
of an eager task that runs before `create_task` returns.
"""

from __future__ import annotations

from livespan.instrumentation.branches.current import CURRENT, branch, current, entered
from livespan.instrumentation.branches.install import install, uninstall

__all__ = ["CURRENT", "branch", "current", "entered", "install", "uninstall"]

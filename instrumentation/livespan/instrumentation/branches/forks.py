"""A forked child as a branch, `~fork.N`, of the scope that forked.

The ordinal is taken before the fork, so that parent and child have counted alike. The end of a
child is not told: it may leave by `os._exit`.
"""

from __future__ import annotations

import threading
from typing import Final

from livespan.instrumentation.branches.current import CURRENT, current
from livespan.instrumentation.core.scope import Scope

__all__ = ["after_in_child", "after_in_parent", "before"]


class _Forking(threading.local):
    branch: Scope | None = None


_FORKING: Final = _Forking()


def before() -> None:
    """Name the branch of the child to come."""
    scope = current()
    _FORKING.branch = None if scope is None else scope.branch("fork")


def after_in_child() -> None:
    """Go on in that branch."""
    if _FORKING.branch is not None:
        CURRENT.set(_FORKING.branch)
        _FORKING.branch = None


def after_in_parent() -> None:
    """Go on as before; what the record holds of the child's branch is the child's to claim."""
    branch, _FORKING.branch = _FORKING.branch, None
    if branch is not None:
        branch.claims.hand_over(branch.path)

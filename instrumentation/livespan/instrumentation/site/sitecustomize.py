"""Imported by a Python that `livespan run` starts, before its program: frameworks are hooked when that imports them.

What it stands before, a sitecustomize of the machine's or of another tool's, is imported as well.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module


def _import_next() -> None:
    """Import the sitecustomize that would have been found without this one."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    own = sys.modules.pop(__name__, None)
    try:
        import_module("sitecustomize")
    except ImportError:
        if own is not None:
            sys.modules[__name__] = own


def _hook() -> None:
    try:
        from livespan.instrumentation.at_import import hook_when_imported
    except ImportError:
        missing = f"livespan: it is not installed for {sys.executable}, so no framework is recorded by itself"
        print(f"{missing}: pip install livespan", file=sys.stderr)
    else:
        hook_when_imported()


_import_next()
_hook()

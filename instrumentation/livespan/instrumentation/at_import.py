"""Frameworks hooked when a program imports them, for programs that do not call `instrument()`.

    livespan run ─▶ PYTHONPATH=.../site ─▶ site/sitecustomize.py ─▶ hook_when_imported
    the program  ─▶ import agents ─▶ instrument(["openai_agents"])

A child process of the program's inherits PYTHONPATH, and is hooked too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final

import wrapt

from livespan.instrumentation.known_frameworks import FRAMEWORKS

__all__ = ["environment", "hook_when_imported"]

_SITE: Final = Path(__file__).with_name("site")


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return what a program's environment needs beside what it is given, so that its frameworks are hooked."""
    paths = [path for path in given.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(_SITE)]
    return {"PYTHONPATH": os.pathsep.join([str(_SITE), *paths])}


def hook_when_imported() -> None:
    """Hook each framework as soon as it is imported; one that cannot be hooked is told of, and the program goes on."""
    for name, known in FRAMEWORKS.items():
        wrapt.register_post_import_hook(partial(_hook, name), known.module)


def _hook(name: str, module: ModuleType) -> None:
    del module
    from livespan.instrumentation.frameworks import instrument
    from livespan.proto.errors import LivespanError

    try:
        instrument([name])
    except LivespanError as error:
        print(f"livespan: calls of {name} are not recorded: {error}", file=sys.stderr)

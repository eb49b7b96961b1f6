"""Agent frameworks, hooked so that their model and tool calls are recorded, and answered from the record.

    instrument() ──▶ tool_sites.py       what the user says of tools by name
                 ├─▶ langgraph.py        LangGraph and LangChain: langgraph_*.py, langchain_*.py
                 ├─▶ openai_agents.py, pydantic_ai.py, google_adk.py, strands.py, smolagents.py, crewai.py
                 ├─▶ openai.py, anthropic.py    the plain clients: client_*.py, *_requests.py
                 └─▶ mcp.py              tools of MCP servers

None is imported for this: one that the program has not imported yet is hooked when it does. hooks.py replaces functions
and puts them back; calling.py and agent_runs.py say where a call belongs; streams.py records an answer that comes in
parts.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING, Final, cast

import wrapt
from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.decorators import InDoubtSetting
from livespan.instrumentation.frameworks import tool_sites
from livespan.instrumentation.known_frameworks import FRAMEWORKS
from livespan.instrumentation.masking import Mask
from livespan.instrumentation.process_defaults import forget_process_defaults, say_process_defaults
from livespan.proto.errors import InvalidInput

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["instrument", "known_frameworks", "uninstrument"]

_waiting: Final[set[str]] = set()
"""Those that are to be hooked when the program imports them."""


def instrument(
    frameworks: Iterable[str] | None = None,
    effects: Mapping[str, bool] | None = None,
    in_doubt: Mapping[str, InDoubtSetting] | None = None,
    mask: Mask | None = None,
    tracer_provider: TracerProvider | None = None,
) -> tuple[str, ...]:
    """Hook frameworks, from now on and for the whole process. May be called again to say something else of the tools.

    Args:
        frameworks: names of those to hook, at once; None: all that are installed and known here, each as soon as the
            program has imported it.
        effects: whether a tool, by its name, changes the world. Every tool does, unless it is said here or by the tool
            itself.
        in_doubt: what to do, by tool name, where an earlier life started it and its outcome is not known: "fail" (the
            default), "retry", `Retry(within_s=...)`, or a probe `probe(key, **arguments)`.
        mask, tracer_provider: of every run that does not say its own; see `run`.

    Returns:
        The names of the frameworks that are hooked, or will be.

    Raises:
        InvalidInput: a framework is unknown, not installed, or of a version that is not supported, and nothing was
            hooked of it; or a setting is no in-doubt policy.
    """
    if isinstance(frameworks, str):
        frameworks = (frameworks,)
    names = (
        [name for name, known in FRAMEWORKS.items() if _installed(known.package)]
        if frameworks is None
        else list(frameworks)
    )
    for name in names:
        if name not in FRAMEWORKS:
            raise InvalidInput("this framework is not known", subject=name, hint=f"Known are: {', '.join(FRAMEWORKS)}.")
    tool_sites.configure(effects, in_doubt)
    say_process_defaults(mask, tracer_provider)
    for name in names:
        _check_version(name)
        known = FRAMEWORKS[name]
        if frameworks is not None or known.module in sys.modules or known.base in sys.modules:
            _hook(name)
        else:
            _waiting.add(name)
            wrapt.register_post_import_hook(functools.partial(_hook_imported, name), known.module)
    return tuple(names)


def known_frameworks() -> list[tuple[str, tuple[str, ...]]]:
    """Return the name of each framework that can be hooked, with the packages and versions that it takes."""
    return [(name, tuple(_instrumentor(name).instrumentation_dependencies())) for name in FRAMEWORKS]


def uninstrument() -> None:
    """Put back what `instrument` replaced, and forget what was said of tools."""
    _waiting.clear()
    for name, known in FRAMEWORKS.items():
        if _installed(known.package):
            instrumentor = _instrumentor(name)
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()
    tool_sites.forget()
    forget_process_defaults()


def _check_version(name: str) -> None:
    """Raise InvalidInput where a framework is missing or of a version that is not supported."""
    conflict = get_dependency_conflicts(_instrumentor(name).instrumentation_dependencies())
    if conflict is not None:
        raise InvalidInput(
            f"Livespan needs {conflict.required}; found is {conflict.found or 'nothing'}",
            subject=name,
            hint="Install a version in that range, or name the frameworks to hook: instrument(frameworks=[...]).",
        )


def _hook(name: str) -> None:
    _waiting.discard(name)
    instrumentor = _instrumentor(name)
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(skip_dep_check=True)


def _hook_imported(name: str, module: ModuleType) -> None:
    del module
    if name in _waiting:
        _hook(name)


def _instrumentor(name: str) -> BaseInstrumentor:
    """Return a framework's instrumentor; its module is imported now."""
    module = import_module(f"{__name__}.{name}")
    return cast("BaseInstrumentor", getattr(module, FRAMEWORKS[name].type_name)())


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True

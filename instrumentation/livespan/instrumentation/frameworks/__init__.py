"""Agent frameworks, hooked so that their model and tool calls are recorded, and answered from the record.

    instrument() ──▶ tool_sites.py       what the user says of tools by name
                 ├─▶ langgraph.py        LangGraph and LangChain: langgraph_*.py, langchain_*.py
                 ├─▶ openai_agents.py, pydantic_ai.py, google_adk.py, strands.py, smolagents.py, crewai.py
                 ├─▶ openai.py, anthropic.py    the plain clients: client_*.py, *_requests.py
                 └─▶ mcp.py              tools of MCP servers

A framework is imported when it is instrumented, and only if it is installed. hooks.py replaces functions and puts
them back; calling.py and agent_runs.py say where a call belongs; streams.py records an answer that comes in parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, cast

from opentelemetry.instrumentation.dependencies import DependencyConflictError
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


def instrument(
    frameworks: Iterable[str] | None = None,
    effects: Mapping[str, bool] | None = None,
    in_doubt: Mapping[str, InDoubtSetting] | None = None,
    mask: Mask | None = None,
    tracer_provider: TracerProvider | None = None,
) -> tuple[str, ...]:
    """Hook frameworks, from now on and for the whole process. May be called again to say something else of the tools.

    Args:
        frameworks: names of those to hook; None: all that are installed and known here.
        effects: whether a tool, by its name, changes the world. Every tool does, unless it is said here or by the tool
            itself.
        in_doubt: what to do, by tool name, where an earlier life started it and its outcome is not known: "fail" (the
            default), "retry", `Retry(within_s=...)`, or a probe `probe(key, **arguments)`.
        mask, tracer_provider: of every run that does not say its own; see `run`.

    Returns:
        The names of the frameworks that are hooked.

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
        instrumentor = _instrumentor(name)
        if instrumentor.is_instrumented_by_opentelemetry:
            continue
        try:
            instrumentor.instrument(raise_exception_on_conflict=True)
        except DependencyConflictError as error:
            conflict = error.conflict
            raise InvalidInput(
                f"Livespan needs {conflict.required}; found is {conflict.found or 'nothing'}",
                subject=name,
                hint="Install a version in that range, or name the frameworks to hook: instrument(frameworks=[...]).",
            ) from error
    return tuple(names)


def known_frameworks() -> list[tuple[str, tuple[str, ...]]]:
    """Return the name of each framework that can be hooked, with the packages and versions that it takes."""
    return [(name, tuple(_instrumentor(name).instrumentation_dependencies())) for name in FRAMEWORKS]


def uninstrument() -> None:
    """Put back what `instrument` replaced, and forget what was said of tools."""
    for name, known in FRAMEWORKS.items():
        if _installed(known.package):
            instrumentor = _instrumentor(name)
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()
    tool_sites.forget()
    forget_process_defaults()


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

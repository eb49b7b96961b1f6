"""Which agent frameworks and client libraries are installed here, and which of them Livespan records by itself.

Only the packages' metadata is read: nothing is imported, so a broken package breaks no doctor.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

from opentelemetry.instrumentation.dependencies import DependencyConflict, get_dependency_conflicts

from livespan.instrumentation.frameworks import known_frameworks
from livespan.proto.finding import Finding

__all__ = ["LIBRARIES", "Library", "check_frameworks", "instrumented_packages", "unseen"]


class Library(NamedTuple):
    """A library whose calls are steps of an agent: its package, the modules it is imported by, what it calls."""

    package: str
    modules: tuple[str, ...]
    calls: str


LIBRARIES: Final = (
    Library("langgraph", ("langgraph",), "graphs"),
    Library(
        "langchain-core", ("langchain", "langchain_core", "langchain_openai", "langchain_anthropic"), "models, tools"
    ),
    Library("openai", ("openai",), "models"),
    Library("openai-agents", ("agents",), "models, tools"),
    Library("anthropic", ("anthropic",), "models"),
    Library("google-genai", ("google.genai",), "models"),
    Library("mistralai", ("mistralai",), "models"),
    Library("cohere", ("cohere",), "models"),
    Library("groq", ("groq",), "models"),
    Library("litellm", ("litellm",), "models"),
    Library("ollama", ("ollama",), "models"),
    Library("boto3", ("boto3", "botocore"), "models, services"),
    Library("llama-index-core", ("llama_index",), "models, tools"),
    Library("pydantic-ai-slim", ("pydantic_ai",), "models, tools"),
    Library("crewai", ("crewai",), "models, tools"),
    Library("autogen-core", ("autogen_core", "autogen_agentchat"), "models, tools"),
    Library("dspy", ("dspy",), "models"),
    Library("haystack-ai", ("haystack",), "models, tools"),
    Library("smolagents", ("smolagents",), "models, tools"),
    Library("mcp", ("mcp",), "tools"),
    Library("httpx", ("httpx",), "services"),
    Library("requests", ("requests",), "services"),
    Library("aiohttp", ("aiohttp",), "services"),
    Library("sqlalchemy", ("sqlalchemy",), "databases"),
    Library("psycopg", ("psycopg", "psycopg2"), "databases"),
    Library("redis", ("redis",), "databases"),
    Library("stripe", ("stripe",), "services"),
)


def check_frameworks() -> Iterator[Finding]:
    """Yield one finding of what is recorded by itself, and one for each framework of a version that is not."""
    supported: list[str] = []
    for name, requirements in known_frameworks():
        conflict = _conflict(requirements)
        if conflict is None:
            supported.append(f"{name} ({', '.join(_found(requirement) for requirement in requirements)})")
        elif conflict.found:
            yield Finding(
                "frameworks",
                None,
                f"{name} is not recorded: Livespan needs {conflict.required}, found is {conflict.found}",
                "Install a version in that range; until then decorate its calls with @ls.step and @ls.tool.",
            )
    if supported:
        yield Finding("frameworks", True, f"recorded after ls.instrument(): {', '.join(supported)}")
    else:
        yield Finding("frameworks", None, "none that Livespan records by itself; @ls.step and @ls.tool work with any")
    others = [f"{library.package} {found}" for library in unseen(LIBRARIES) if (found := _version(library.package))]
    if others:
        yield Finding("other clients", None, f"installed, and recorded only where decorated: {', '.join(others)}")


def instrumented_packages() -> frozenset[str]:
    """Return the packages whose calls Livespan records by itself, in versions that are supported here."""
    found: set[str] = set()
    for _, requirements in known_frameworks():
        if _conflict(requirements) is None:
            found.update(_package(requirement) for requirement in requirements)
    return frozenset(found)


def unseen(libraries: tuple[Library, ...]) -> list[Library]:
    """Return those of these libraries whose calls Livespan does not record by itself."""
    seen = instrumented_packages()
    return [library for library in libraries if library.package not in seen]


def _conflict(requirements: tuple[str, ...]) -> DependencyConflict | None:
    return get_dependency_conflicts(requirements)


def _found(requirement: str) -> str:
    package = _package(requirement)
    return f"{package} {_version(package)}"


def _package(requirement: str) -> str:
    return requirement.replace("=", " ").replace(">", " ").replace("<", " ").replace("~", " ").split()[0].rstrip(",")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

"""The frameworks and clients that can be hooked. Light: what looks at this list imports none of them."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["FRAMEWORKS", "KnownFramework"]


class KnownFramework(NamedTuple):
    """One of them.

    Attributes:
        package: tells whether it is installed.
        module: once this is imported, the framework can be hooked.
        type_name: the instrumentor, in the module of the framework's name in frameworks/.
        base: where this is imported, the framework is used without its own module; "" = there is none.
    """

    package: str
    module: str
    type_name: str
    base: str = ""


FRAMEWORKS: Final = {
    "anthropic": KnownFramework("anthropic", "anthropic", "AnthropicInstrumentor"),
    "crewai": KnownFramework("crewai", "crewai", "CrewAIInstrumentor"),
    "google_adk": KnownFramework("google-adk", "google.adk", "GoogleAdkInstrumentor"),
    "langgraph": KnownFramework("langgraph", "langgraph.pregel", "LangGraphInstrumentor", "langchain_core"),
    "mcp": KnownFramework("mcp", "mcp", "MCPInstrumentor"),
    "openai": KnownFramework("openai", "openai", "OpenAIInstrumentor"),
    "openai_agents": KnownFramework("openai-agents", "agents", "OpenAIAgentsInstrumentor"),
    "pydantic_ai": KnownFramework("pydantic-ai-slim", "pydantic_ai", "PydanticAIInstrumentor"),
    "smolagents": KnownFramework("smolagents", "smolagents", "SmolagentsInstrumentor"),
    "strands": KnownFramework("strands-agents", "strands", "StrandsInstrumentor"),
}

"""Tool calls of smolagents: what stands in for `Tool.__call__`, to which an agent that names its calls comes as well as
code that a model has written.

    execute_tool_call, code in an executor ─▶ __call__ ─┬─ bad arguments: no call is made, and none is recorded
                                                        └─ session.call ─▶ setup, forward

A tool is an effect unless it is declared a read (tool_sites.py), or is one of the framework's own that only look
something up. The framework's own `final_answer` hands its argument back and is none. An error is an outcome: it is
raised again on resume, so that the model is told the same.
"""

from __future__ import annotations

import functools
import inspect
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextvars import ContextVar
from importlib import import_module
from io import BytesIO
from typing import Any, Final, TypeAlias, cast

from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.decorators import is_recorded
from livespan.instrumentation.frameworks.smolagents_agents import CALL_ID, FRAMEWORK, calling_scope
from livespan.instrumentation.frameworks.tool_sites import tool_site
from livespan.proto.codec import decode, encode, register_codec

__all__ = ["hold_types", "recording_call"]

_Function: TypeAlias = Callable[..., Any]

_READS: Final = (
    "ApiWebSearchTool",
    "DuckDuckGoSearchTool",
    "GoogleSearchTool",
    "SpeechToTextTool",
    "UserInputTool",
    "VisitWebpageTool",
    "WebSearchTool",
    "WikipediaSearchTool",
)
"""The framework's own tools that change nothing."""
_RUNNING: Final[ContextVar[object]] = ContextVar("livespan_smolagents_tool", default=None)
_held: Final[set[type]] = set()


def recording_call(original: _Function) -> _Function:
    """Return `__call__`, recorded."""

    @functools.wraps(original)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - it stands in for one
        given = None if _RUNNING.get() is self or _hands_back(self) else _arguments(self, args, kwargs)
        if given is None:
            return original(self, *args, **kwargs)
        request = Request(given, None, CALL_ID.get(), ((), given), _codec(self, kwargs))
        session, scope = calling_scope(request.call_id)

        def body() -> Any:
            # A subclass's `__call__` that comes to that of its base is the same call.
            running, call_id = _RUNNING.set(self), CALL_ID.set("")
            try:
                return original(self, *args, **kwargs)
            finally:
                CALL_ID.reset(call_id)
                _RUNNING.reset(running)

        return session.call(scope, _site(self), request, body)

    return __call__


def hold_types() -> None:
    """Let texts and images be recorded as tools return them: they are no classes of a kind that is held by itself."""
    types: Any = import_module("smolagents.agent_types")
    if types.AgentText not in _held:
        register_codec(types.AgentText, "smolagents.text", str, types.AgentText)
        register_codec(types.AgentImage, "smolagents.image", _png, lambda data: types.AgentImage(b64decode(data)))
        _held.update((types.AgentText, types.AgentImage))


def _png(image: Any) -> str:
    written = BytesIO()
    image.to_raw().save(written, format="PNG")
    return b64encode(written.getvalue()).decode()


def _hands_back(tool: Any) -> bool:
    own: Any = import_module("smolagents.default_tools")
    return _forward(tool) is own.FinalAnswerTool.forward


def _forward(tool: Any) -> object:
    """Return the body as the tool's class has it."""
    return inspect.getattr_static(tool, "forward")


def _arguments(tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Return the arguments by name, as `__call__` reads them; None where the tool's body cannot be reached by them."""
    named = {name: value for name, value in kwargs.items() if name != "sanitize_inputs_outputs"}
    if len(args) == 1 and not named and isinstance(args[0], dict):
        only = cast("dict[str, Any]", args[0])
        if all(name in tool.inputs for name in only):
            args, named = (), only
    try:
        bound = _signature(tool).bind(*args, **named)
    except TypeError:
        return None
    given: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            given |= value
        else:
            given[name] = value
    return given


def _signature(tool: Any) -> inspect.Signature:
    signature = inspect.signature(tool.forward)
    parameters = list(signature.parameters.values())
    # That of a decorated function names a `self` that it does not take.
    return signature.replace(parameters=parameters[1:]) if parameters and parameters[0].name == "self" else signature


def _codec(tool: Any, kwargs: dict[str, Any]) -> Codec:
    if not kwargs.get("sanitize_inputs_outputs"):
        return Codec()
    return Codec(encode, functools.partial(_decode, tool.output_type))


def _decode(output_type: str, data: bytes) -> Any:
    # A probe, or a person who resolves, gives what the tool's body would have returned; an agent gets it as one of its
    # own types. What was one when it was recorded passes unchanged.
    types: Any = import_module("smolagents.agent_types")
    result = decode(data)
    return result if isinstance(result, types.AgentType) else types.handle_agent_output_types(result, output_type)


def _site(tool: Any) -> CallSite:
    own: Any = import_module("smolagents.default_tools")
    reads = [getattr(own, name).forward for name in _READS if hasattr(own, name)]
    return tool_site(tool.name, FRAMEWORK, read=is_recorded(tool.forward) or _forward(tool) in reads)

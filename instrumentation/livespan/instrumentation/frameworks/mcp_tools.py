"""Tool calls over MCP: what stands in for `ClientSession.call_tool`, and for `list_tools`, which tells of reads.

    call_tool ─┬─ within a recorded tool: passes, it is that call
               └─ session.acall ─▶ tools/call, the idempotency key in its `_meta`

A tool is an effect unless the user, or the server by `readOnlyHint` or `idempotentHint`, says otherwise. The server is
asked nothing for it: what the program has not listed is an effect. An error that the server tells in its result is a
result. The key goes to the server under `KEY`; one that honours it does a thing once, however often it is asked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, cast
from weakref import WeakKeyDictionary

import msgspec

from livespan.instrumentation.branches import current
from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.core import Scope
from livespan.instrumentation.frameworks.calling import calling_scope, is_recorded_around
from livespan.instrumentation.frameworks.tool_sites import tool_site
from livespan.instrumentation.session import SESSIONS, Session
from livespan.proto.codec import decode, encode
from livespan.proto.node import NodeType

__all__ = ["KEY", "noting_list", "recording_call"]

_Function: TypeAlias = Callable[..., Any]

FRAMEWORK: Final = "mcp"
KEY: Final = "livespan/idempotency-key"
"""Where in a request's `_meta` its idempotency key stands."""


class _Listed(NamedTuple):
    """What a server's list says of a tool."""

    read: bool
    schema: Mapping[str, Any] | None


_listed: Final[WeakKeyDictionary[Any, dict[str, _Listed]]] = WeakKeyDictionary()


def recording_call(original: _Function) -> _Function:
    """Return `call_tool`, recorded."""

    @functools.wraps(original)
    async def call_tool(self: Any, name: str, arguments: Any = None, *args: Any, meta: Any = None, **words: Any) -> Any:
        session, scope = calling_scope()
        around = session.around(scope)
        same = around is not None and around.name.endswith(name)
        # What a read does is done again where that was cut short, so an effect within one is recorded by itself.
        if around is not None and around.kind is NodeType.TOOL and (around.effect or same):
            if same:
                # A framework's tool that is nothing but this call. Any other may make several, and its key is for one.
                meta = _with_key(session, scope, meta)
            return await original(self, name, arguments, *args, **_said(meta), **words)

        async def body() -> Any:
            inside = current()
            assert inside is not None
            return await original(self, name, arguments, *args, **_said(_with_key(session, inside, meta)), **words)

        listed = _listed.get(self, {}).get(name)
        site = _site(name, listed)
        return await session.acall(scope, site, _request(arguments, words, listed), body)

    return call_tool


def noting_list(original: _Function) -> _Function:
    """Return `list_tools`, of whose answer the hints are kept."""

    @functools.wraps(original)
    async def list_tools(self: Any, *args: Any, **words: Any) -> Any:
        result = await original(self, *args, **words)
        scope = current()
        session = SESSIONS.get(scope.trace) if scope is not None else None
        # Not what the package lists by itself after a call: a later life, in which that call is answered, does not.
        if scope is None or session is None or not is_recorded_around(session, scope, NodeType.TOOL):
            _listed.setdefault(self, {}).update({tool.name: _note(tool) for tool in result.tools})
        return result

    return list_tools


def _note(tool: Any) -> _Listed:
    told: dict[str, Any] = tool.model_dump(mode="json", by_alias=True)
    hints: dict[str, Any] = told.get("annotations") or {}
    return _Listed(bool(hints.get("readOnlyHint") or hints.get("idempotentHint")), told.get("outputSchema"))


def _site(name: str, listed: _Listed | None) -> CallSite:
    return tool_site(name, FRAMEWORK, read=listed is not None and listed.read)


def _with_key(session: Session, scope: Scope, meta: Mapping[str, Any] | None) -> dict[str, Any]:
    return {KEY: session.idempotency_key(scope), **(meta or {})}


def _said(meta: Any) -> dict[str, Any]:
    return {} if meta is None else {"meta": meta}


def _request(arguments: Any, words: Mapping[str, Any], listed: _Listed | None) -> Request:
    given = dict(arguments or {})
    # Of a call in rounds each one is a call; what the server keeps of it between them is its own.
    answers = words.get("input_responses")
    value = given if answers is None else {"arguments": given, "input_responses": answers}
    return Request(value, arguments=((), given), codec=Codec(_encode, functools.partial(_decode, listed)))


def _encode(result: Any) -> bytes:
    """Return a result as the server wrote it where the same result can be read from that, else as an object."""
    from mcp.types import CallToolResult

    if type(result) is CallToolResult:
        wire = result.model_dump(mode="json", by_alias=True, exclude_unset=True)
        if CallToolResult.model_validate(wire) == result:
            return encode(wire)
    return encode(result)


def _decode(listed: _Listed | None, data: bytes) -> Any:
    from mcp.types import CallToolResult

    result: Any = decode(data)
    if hasattr(result, "model_dump"):
        return result
    if isinstance(result, dict) and isinstance(cast("dict[str, Any]", result).get("content"), list):
        return CallToolResult.model_validate(result)
    # A probe, or a person who resolves, gives what the tool's function would have returned.
    text = result if isinstance(result, str) else msgspec.json.format(encode(cast("object", result))).decode()
    told: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
    if listed is not None and listed.schema is not None:
        fits = isinstance(result, dict) and set(listed.schema.get("properties") or ()) != {"result"}
        told["structuredContent"] = result if fits else {"result": result}
    return CallToolResult.model_validate(told)

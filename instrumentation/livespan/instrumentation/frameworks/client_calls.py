"""Model calls of the OpenAI and Anthropic clients, which share one core: what stands in for `SyncAPIClient.request`
and its twin.

    client.chat.completions.create ─▶ request ─┬─ another endpoint, a raw response: passes
                                               ├─ within a recorded model call: passes, it is that call
                                               └─ session.call ─▶ the client's own request, its retries included

It lies above the client's retries, so that one call is one node, and below its helpers: what `parse` and `stream` make
of an answer they make of a recorded one too. Recorded is what the provider wrote, not the client's objects. Streams
are client_streams.py's; what of a request identifies it stands beside each client.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, cast, get_args

from livespan.instrumentation.call_site import CallSite, Told
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.core import FAIL, Scope
from livespan.instrumentation.frameworks import client_streams
from livespan.instrumentation.frameworks.calling import calling_scope, is_recorded_around, prompt_site
from livespan.instrumentation.frameworks.client_answers import Answer, decode_answer, encode_answer, rebuilt, taken
from livespan.instrumentation.session import Session
from livespan.proto import attributes as names
from livespan.proto.node import NodeType
from livespan.proto.span import Scalar

__all__ = ["Client", "Endpoint", "recording_arequest", "recording_request"]

_Function: TypeAlias = Callable[..., Any]
_RAW: Final = "x-stainless-raw-response"
"""The header by which the client's `with_raw_response` and `with_streaming_response` say so to its core."""
_ABSENT: Final = frozenset({"NotGiven", "Omit"})
"""What a client puts where nothing was given; their texts hold addresses."""


class Endpoint(NamedTuple):
    """What is recorded of one address of a provider. All of it reads JSON, as it is sent and as it comes.

    Attributes:
        seen: what the model sees of a request's body.
        told: what an answer says of itself.
        gathered: the answer that a stream's events make, as far as `told` reads it.
        is_end: whether with this event of a stream the answer is whole; others may follow.
    """

    kind: NodeType
    seen: Callable[[Mapping[str, Any]], dict[str, Any]]
    told: Callable[[Mapping[str, Any]], Told]
    gathered: Callable[[list[Any]], Mapping[str, Any]]
    is_end: Callable[[Mapping[str, Any]], bool]


class Client(NamedTuple):
    """One client library: its name in the record, its endpoints by path, its providers by a word of its classes."""

    name: str
    endpoints: Mapping[str, Endpoint]
    providers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that is to be recorded. `options` are those to send: without what is done with an answer later."""

    endpoint: Endpoint
    session: Session
    scope: Scope
    site: CallSite
    request: Request
    options: Any
    finish: Callable[[Any], Any] | None


def recording_request(client: Client) -> Callable[[_Function], _Function]:
    """Return what makes a recorded `request` of a synchronous client's."""

    def recorded(original: _Function) -> _Function:
        @functools.wraps(original)
        def request(self: Any, cast_to: Any, options: Any, *args: Any, **words: Any) -> Any:
            asked = _asked(client, self, cast_to, options, words)
            if asked is None:
                return original(self, cast_to, options, *args, **words)
            ask = functools.partial(original, self, cast_to, asked.options, *args, **words)
            if words.get("stream"):
                how = client_streams.StreamedRequest(self, words["stream_cls"], asked.endpoint.is_end)
                return client_streams.recorded(asked.session, (asked.scope, asked.site, asked.request), how, ask)
            answer = asked.session.call(asked.scope, asked.site, asked.request, lambda: taken(ask()))
            return _given(self, cast_to, asked, answer)

        return request

    return recorded


def recording_arequest(client: Client) -> Callable[[_Function], _Function]:
    """Return what makes a recorded `request` of an asynchronous client's."""

    def recorded(original: _Function) -> _Function:
        @functools.wraps(original)
        async def request(self: Any, cast_to: Any, options: Any, *args: Any, **words: Any) -> Any:
            asked = _asked(client, self, cast_to, options, words)
            if asked is None:
                return await original(self, cast_to, options, *args, **words)
            ask = functools.partial(original, self, cast_to, asked.options, *args, **words)
            if words.get("stream"):
                how = client_streams.StreamedRequest(self, words["stream_cls"], asked.endpoint.is_end)
                return await client_streams.arecorded(asked.session, (asked.scope, asked.site, asked.request), how, ask)

            async def body() -> Answer:
                return taken(await ask())

            answer = await asked.session.acall(asked.scope, asked.site, asked.request, body)
            return _given(self, cast_to, asked, answer)

        return request

    return recorded


def _asked(client: Client, asking: Any, cast_to: Any, options: Any, words: Mapping[str, Any]) -> _Asked | None:
    """Return what is to be recorded of a request; None where it passes."""
    path = str(options.url).partition("?")[0]
    endpoint = client.endpoints.get(path) if str(options.method).lower() == "post" else None
    streamed = bool(words.get("stream"))
    if endpoint is None or _is_raw(options.headers) or not _can_come_back(cast_to, streamed, words.get("stream_cls")):
        return None
    session, scope = calling_scope()
    if any(is_recorded_around(session, scope, kind) for kind in (NodeType.PROMPT, NodeType.MEMORY)):
        return None
    # An iterator among what is sent could be read only once: by us, or by the client.
    sent = _unrolled(options.json_data)
    body = cast("dict[str, Any]", _plain({**(sent or {}), **(getattr(options, "extra_json", None) or {})}))
    value = endpoint.seen(body)
    if streamed:
        # An answer and the events of one are recorded differently; to change between them is to change the program.
        value["stream"] = True
    model = str(body.get("model") or client.name)
    about: dict[str, Scalar] = {names.MODEL: model, names.PROVIDER: _provider(client, asking)}
    codec = Codec(encode_answer, decode_answer, functools.partial(_told, endpoint, about, streamed))
    site = prompt_site(model, client.name) if endpoint.kind is NodeType.PROMPT else _read_site(model, client.name)
    finish = options.post_parser if callable(options.post_parser) else None
    fields = cast("Any", type(options)).model_fields
    without = {"json_data": sent, "post_parser": fields["post_parser"].default}
    request = Request(value, codec=codec)
    return _Asked(endpoint, session, scope, site, request, options.model_copy(update=without), finish)


def _is_raw(headers: Any) -> bool:
    return isinstance(headers, Mapping) and any(
        str(name).lower() == _RAW for name in cast("Mapping[object, object]", headers)
    )


def _can_come_back(cast_to: Any, streamed: bool, stream_class: Any) -> bool:
    """Return whether the answer is to be of a class that a recorded one can be made of."""
    return bool(get_args(stream_class)) if streamed else hasattr(cast_to, "to_dict")


def _provider(client: Client, asking: object) -> str:
    kind = type(asking).__name__
    return next((provider for word, provider in client.providers.items() if word in kind), client.name)


@functools.lru_cache(maxsize=1024)
def _read_site(model: str, name: str) -> CallSite:
    return CallSite.of(NodeType.MEMORY, model, effect=False, in_doubt=FAIL, framework=name)


def _unrolled(value: Any) -> Any:
    """Return it with a list in the place of each iterator."""
    if isinstance(value, dict):
        return {name: _unrolled(one) for name, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, (list, tuple, Iterator)):
        return [_unrolled(one) for one in cast("Iterable[Any]", value)]
    return value


def _plain(value: Any) -> Any:
    """Return JSON of what a client sends: without what was not given, and of its objects what stands in them."""
    if isinstance(value, dict):
        given = cast("dict[str, Any]", value)
        return {name: _plain(one) for name, one in given.items() if type(one).__name__ not in _ABSENT}
    if isinstance(value, list):
        return [_plain(one) for one in cast("Iterable[Any]", value)]
    if isinstance(value, type):
        schema = getattr(value, "model_json_schema", None)
        return value if schema is None else schema()
    dump = getattr(value, "model_dump", None)
    return value if dump is None else dump(mode="json", by_alias=True, exclude_unset=True)


def _told(endpoint: Endpoint, about: Mapping[str, Scalar], streamed: bool, answer: Answer) -> Told:
    told = endpoint.told(endpoint.gathered(answer.data) if streamed else answer.data)
    return Told({**about, **told.attributes}, told.issued)


def _given(asking: Any, cast_to: Any, asked: _Asked, answer: Answer) -> Any:
    """Return what the caller is to have: the client's object, and of it what `parse` and its like make."""
    made = answer.live if answer.live is not None else rebuilt(asking, cast_to, answer)
    if asked.finish is None:
        return made
    made = asked.finish(made)
    for name, noted in answer.noted.items():
        setattr(made, name, noted)
    return made

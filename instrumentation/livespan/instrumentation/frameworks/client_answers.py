"""A provider's answer between a client's object and the record: the JSON that the provider wrote, and what the client
noted beside it, like the request's id.

The client makes its object of it by the very function that it uses on an answer from the wire, so the object is equal
to the first one, and of the same class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, cast

from livespan.proto.codec import decode, encode

__all__ = ["Answer", "answered", "decode_answer", "encode_answer", "plain_part", "rebuilt", "response_of", "taken"]

_NOTED: Final = ("_request_id", "_workspace_id")
_HEADERS: Final = ("anthropic-workspace-id", "request-id", "x-request-id")
"""From which a client notes these."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        data: what the provider wrote; of a stream, the list of its events.
        noted: what the client holds beside it, by attribute; of a stream, headers.
        live: the client's own object, where it came just now.
    """

    data: Any
    noted: Mapping[str, str | None]
    live: Any = None


def taken(made: Any) -> Answer:
    """Return the answer that a client's object holds."""
    held = cast("dict[str, Any]", getattr(made, "__dict__", {}))
    return Answer(plain_part(made), {name: held[name] for name in _NOTED if name in held}, made)


def answered(parts: list[Any], response: Any) -> Answer:
    """Return the answer that a stream's events make."""
    headers = cast("Mapping[str, str]", getattr(response, "headers", None) or {})
    return Answer(parts, {name: headers[name] for name in _HEADERS if name in headers})


def plain_part(made: Any) -> Any:
    """Return what the provider wrote of which a client's object was made."""
    return made.to_dict(mode="python", warnings=False) if hasattr(made, "to_dict") else made


def rebuilt(client: Any, cast_to: Any, answer: Answer) -> Any:
    """Return a client's object of a recorded answer."""
    made = client._process_response_data(data=answer.data, cast_to=cast_to, response=response_of(client, answer))  # noqa: SLF001 - no public door leads to it
    for name, noted in answer.noted.items():
        setattr(made, name, noted)
    return made


def response_of(client: Any, answer: Answer) -> Any:
    """Return an HTTP response for an answer that came from the record: closed, and empty but for its headers."""
    # The client's HTTP library is one of two; its addresses are of the same.
    http = import_module(type(client.base_url).__module__.partition(".")[0])
    headers = {name: value for name, value in answer.noted.items() if name in _HEADERS and value}
    return http.Response(200, headers=headers, request=http.Request("POST", client.base_url))


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as it is recorded."""
    return encode({"answer": answer.data, "noted": dict(answer.noted)})


def decode_answer(data: bytes) -> Answer:
    """Return a recorded answer."""
    held = cast("dict[str, Any]", decode(data))
    return Answer(held["answer"], held["noted"])

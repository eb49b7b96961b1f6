"""Why nobody answered, out of gRPC's words for it: what a person can do about each."""

from __future__ import annotations

from typing import Final

__all__ = ["NOT_RUNNING", "unreachable_hint"]

NOT_RUNNING: Final = "Is the collector running? `livespan doctor` tells."
_HINTS: Final = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "Its certificate is not trusted here: set OTEL_EXPORTER_OTLP_CERTIFICATE to the PEM file of its authority.",
    ),
    (
        "Hostname Verification Check failed",
        "Its certificate is for another name: use a name that stands in it, or make one with this name.",
    ),
    ("WRONG_VERSION_NUMBER", "No TLS is spoken there: write http:// instead of https://."),
    ("missing selected ALPN", "HTTP is spoken there, not gRPC: give the port of `serve --grpc`."),
    ("Socket closed", "Something listens there and hung up: where TLS is spoken, write https:// instead of http://."),
    ("Trying to connect an http1.x server", "HTTP is spoken there, not gRPC: give the port of `serve --grpc`."),
)


def unreachable_hint(said: str) -> str:
    """Return what to do.

    Args:
        said: gRPC's details of a call that failed as UNAVAILABLE.
    """
    return next((hint for words, hint in _HINTS if words in said), NOT_RUNNING)

"""What a client shows to a collector that runs elsewhere: whom it trusts, and its headers. Read at the edges from
OpenTelemetry's own variables, so that whoever has set up an exporter has set up Livespan:

    OTEL_EXPORTER_OTLP_CERTIFICATE    PEM file of the authority that signed the collector's certificate
    OTEL_EXPORTER_OTLP_HEADERS        authorization=Bearer%20..., as W3C baggage writes pairs
    LIVESPAN_TOKEN                    the collector's token, where the headers name no authorization

The variables of the traces signal (OTEL_EXPORTER_OTLP_TRACES_...) win over the general ones, as the specification
has it. Nothing of this goes over a unix socket: its file mode is what guards it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["NO_ACCESS", "Access", "access_from"]

_AUTHORIZATION: Final = "authorization"
_SIGNAL: Final = "OTEL_EXPORTER_OTLP_TRACES_"
_GENERAL: Final = "OTEL_EXPORTER_OTLP_"


@dataclass(frozen=True, slots=True)
class Access:
    """What one process shows.

    Attributes:
        certificate: PEM file of the trusted authorities; "" = those of the system.
        headers: names in lower case, and values; they hold secrets and are not printed.
    """

    certificate: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


NO_ACCESS: Final = Access()


def access_from(environment: Mapping[str, str]) -> Access:
    """Read what a client shows from the environment."""
    headers = _parsed(_either(environment, "HEADERS"))
    token = environment.get("LIVESPAN_TOKEN", "").strip()
    if token:
        headers.setdefault(_AUTHORIZATION, f"Bearer {token}")
    return Access(_either(environment, "CERTIFICATE"), tuple(sorted(headers.items())))


def _either(environment: Mapping[str, str], name: str) -> str:
    return environment.get(_SIGNAL + name) or environment.get(_GENERAL + name, "")


def _parsed(text: str) -> dict[str, str]:
    if not text:
        return {}
    from opentelemetry.util.re import parse_env_headers  # it is for those who have headers: `--help` has none

    return dict(parse_env_headers(text, liberal=True))

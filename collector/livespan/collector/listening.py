"""Where a collector may listen: loopback freely; elsewhere only with TLS and a token, since whoever reaches the port
could read and forge every record. Unix sockets are guarded by their file mode and are not asked about here.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from livespan.proto.errors import InvalidInput

__all__ = ["Guard", "Listen", "check_address", "host_and_port"]

_LARGEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Guard:
    """What protects the TCP ports.

    Attributes:
        certificate: PEM file, the server's certificate first, then its chain; None = no TLS.
        key: PEM file of its private key.
        token: what callers must show as `authorization: Bearer ...`; "" = nothing.
    """

    certificate: Path | None = None
    key: Path | None = None
    token: str = ""

    @property
    def has_tls(self) -> bool:
        return self.certificate is not None and self.key is not None


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a collector listens.

    Attributes:
        grpc_address, http_address: host:port beside the unix socket, "" for nowhere.
        guard: certificate and token of these two.
        socket: the unix socket's path; None: the home's own.
        runtime_folder: `$XDG_RUNTIME_DIR` where it is set, for a home whose path is too long for a socket.

    Raises:
        InvalidInput: others could reach an address that is not guarded, or it is none.
    """

    grpc_address: str = ""
    http_address: str = ""
    guard: Guard = field(default_factory=Guard)
    socket: Path | None = None
    runtime_folder: Path | None = None

    def __post_init__(self) -> None:
        for flag, address in (("--grpc", self.grpc_address), ("--http", self.http_address)):
            if address:
                check_address(address, self.guard, flag)


def host_and_port(address: str) -> tuple[str, int]:
    """Return the parts of `host:port` or `[v6]:port`.

    Raises:
        InvalidInput: it is not of this form.
    """
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not bare or (":" in bare) is not host.startswith("[") or not _is_port(port):
        raise InvalidInput("this is no HOST:PORT", subject=address, hint="Write it as 127.0.0.1:4317 or [::1]:4317.")
    return bare, int(port)


def check_address(address: str, guard: Guard, flag: str) -> None:
    """Return if a collector may listen on `host:port`.

    Args:
        address: as a user gave it with `flag`.
        guard: what would protect it.

    Raises:
        InvalidInput: others could reach it, and TLS or the token is missing; or it is no address.
    """
    host, port = host_and_port(address)
    if _is_loopback(host) or (guard.has_tls and guard.token):
        return
    lacking = [*([] if guard.has_tls else ["TLS"]), *([] if guard.token else ["a token"])]
    raise InvalidInput(
        f"only loopback addresses are served without {' and '.join(lacking)}",
        subject=address,
        hint=f"Give --tls-cert, --tls-key and --token-file (or LIVESPAN_TOKEN), or use {flag} 127.0.0.1:{port}.",
    )


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST_PORT)) and int(text) <= _LARGEST_PORT


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

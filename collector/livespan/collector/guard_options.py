"""`--tls-cert`, `--tls-key`, `--token-file`: what protects a collector's TCP ports, read before it starts. A
command gets it as `guard`.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final

import click

from livespan.collector.listening import Guard
from livespan.collector.options import gathered
from livespan.proto.errors import InvalidInput

__all__ = ["guard_options", "read_guard"]

_FILE: Final = click.Path(path_type=Path)


def read_guard(certificate: Path | None, key: Path | None, token_file: Path | None, token: str) -> Guard:
    """Return the guard that flags and environment ask for.

    Args:
        certificate, key: PEM files.
        token_file: holds the token; it wins over `token`.
        token: from the environment, "" for none.

    Raises:
        InvalidInput: one of the pair is missing, a file cannot be read, or does not hold what it should.
    """
    if (certificate is None) is not (key is None):
        raise InvalidInput("a certificate needs its key", hint="Give both --tls-cert and --tls-key.")
    if certificate is not None and key is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                f"certificate and key cannot be used ({error.strerror or error})",
                subject=f"{certificate}, {key}",
                hint="Both must be PEM, readable, without a passphrase, and belong together.",
            ) from error
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"the token cannot be read ({error})", subject=str(token_file), hint="Give a text file of one line."
            ) from error
        if not token:
            raise InvalidInput("the file holds no token", subject=str(token_file), hint="Put one line of text into it.")
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidInput(
            "the token is no single printable word", hint="Make one: openssl rand -hex 32 > token; --token-file token"
        )
    return Guard(certificate, key, token)


def _asked(tls_cert: Path | None, tls_key: Path | None, token_file: Path | None) -> Guard:
    return read_guard(tls_cert, tls_key, token_file, os.environ.get("LIVESPAN_TOKEN", ""))


guard_options = gathered(
    "guard",
    _asked,
    tls_cert=click.option(
        "--tls-cert", type=_FILE, metavar="FILE", help="Speak TLS on TCP with this PEM certificate and its chain."
    ),
    tls_key=click.option("--tls-key", type=_FILE, metavar="FILE", help="PEM file of the certificate's private key."),
    token_file=click.option(
        "--token-file",
        type=_FILE,
        metavar="FILE",
        help="Ask callers over TCP for the token in this file. [else env: LIVESPAN_TOKEN]",
    ),
)

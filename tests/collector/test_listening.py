from __future__ import annotations

from pathlib import Path

import pytest
from tests.certificate import make_certificate

from livespan.collector.guard_options import read_guard
from livespan.collector.listening import Guard, check_address, host_and_port
from livespan.proto.errors import InvalidInput

FULL = Guard(Path("cert.pem"), Path("key.pem"), "token")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.9.9.9:4317", "localhost:4317", "[::1]:65535"])
def test_loopback_needs_no_guard(address: str) -> None:
    check_address(address, Guard(), "--grpc")


@pytest.mark.parametrize("address", ["0.0.0.0:4317", "[::]:4318", "10.0.0.7:1", "example.com:4317", "128.0.0.1:1"])
def test_elsewhere_both_tls_and_a_token_are_asked_for(address: str) -> None:
    check_address(address, FULL, "--http")
    for guard, lacking in (
        (Guard(), "TLS and a token"),
        (Guard(token="t"), "without TLS"),
        (Guard(FULL.certificate, FULL.key), "without a token"),
        (Guard(FULL.certificate, None, "t"), "without TLS"),
    ):
        with pytest.raises(InvalidInput, match=lacking) as refused:
            check_address(address, guard, "--http")
        assert "--tls-cert" in refused.value.hint


@pytest.mark.parametrize(
    "text", ["", ":4317", "4317", "host", "host:", "host:x", "::1:4317", "a:65536", "a:-1", "a:1_0"]
)
def test_what_is_no_address_is_refused_however_well_it_is_guarded(text: str) -> None:
    with pytest.raises(InvalidInput, match="HOST:PORT"):
        check_address(text, FULL, "--grpc")


def test_an_address_comes_apart() -> None:
    assert host_and_port("[::1]:80") == ("::1", 80)
    assert host_and_port("localhost:0") == ("localhost", 0)


def test_a_guard_is_read_from_files_and_the_flag_wins(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    token = tmp_path / "token"
    token.write_text("from-the-file\n")
    assert read_guard(certificate, key, token, "from-the-environment") == Guard(certificate, key, "from-the-file")
    assert read_guard(None, None, None, " word\n") == Guard(token="word")
    assert read_guard(None, None, None, "") == Guard()


def test_a_guard_that_would_not_hold_is_refused_before_anything_starts(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    empty = tmp_path / "empty"
    empty.write_text("\n")
    (tmp_path / "other").mkdir()
    _, other_key = make_certificate(tmp_path / "other")
    for wrong in (
        (certificate, None, None, ""),
        (None, key, None, ""),
        (certificate, other_key, None, ""),
        (empty, key, None, ""),
        (None, None, empty, "token"),
        (None, None, tmp_path / "missing", "token"),
        (None, None, None, "two words"),
    ):
        with pytest.raises(InvalidInput) as refused:
            read_guard(*wrong)
        assert refused.value.hint

"""The bytes of a frame, checked against the spec by hand and not by the code that wrote them."""

from __future__ import annotations

import struct
from uuid import UUID

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from livespan.collector.log.frame import check_frame, encode_frame, frame_prefix, frame_size

LOG = UUID("00112233-4455-6677-8899-aabbccddeeff")


def test_the_layout_is_that_of_the_spec() -> None:
    header, payload, padding = encode_frame(frame_prefix(LOG, 7), 258, 3, b"hello")

    assert header[:48] == (
        b"LSFRAME\n"
        + bytes.fromhex("00112233445566778899aabbccddeeff")
        + struct.pack("<I", 7)
        + struct.pack("<HH", 1, 1)
        + struct.pack("<Q", 258)
        + struct.pack("<II", 3, 5)
    )
    assert header[48:] == struct.pack("<Q", xxhash.xxh3_64_intdigest(header[:48] + b"hello"))
    assert (payload, padding) == (b"hello", b"\0\0\0")


def test_the_payload_is_not_copied() -> None:
    payload = b"x" * 1000
    assert encode_frame(frame_prefix(LOG, 1), 1, 1, payload)[1] is payload


@given(
    reuse=st.integers(0, 2**32 - 1),
    first_seq=st.integers(1, 2**63),
    count=st.integers(1, 2**32 - 1),
    payload=st.binary(max_size=200),
    before=st.integers(0, 5),
)
def test_what_was_encoded_is_found(reuse: int, first_seq: int, count: int, payload: bytes, before: int) -> None:
    prefix = frame_prefix(LOG, reuse)
    frame = b"".join(encode_frame(prefix, first_seq, count, payload))
    assert len(frame) == frame_size(len(payload))
    assert len(frame) % 8 == 0

    header = check_frame(memoryview(b"\0" * 8 * before + frame), 8 * before, prefix)

    assert header is not None
    assert (header.first_seq, header.records, header.length) == (first_seq, count, len(payload))
    assert check_frame(memoryview(frame), 0, frame_prefix(LOG, (reuse + 1) % 2**32)) is None


@given(payload=st.binary(min_size=1, max_size=60), data=st.data())
def test_no_changed_bit_and_no_missing_byte_passes(payload: bytes, data: st.DataObject) -> None:
    prefix = frame_prefix(LOG, 1)
    header, _, _ = encode_frame(prefix, 5, 1, payload)
    frame = bytearray(header + payload)
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    assert check_frame(memoryview(frame), 0, prefix) is None
    frame[bit // 8] ^= 1 << bit % 8
    assert check_frame(memoryview(frame)[: data.draw(st.integers(0, len(frame) - 1))], 0, prefix) is None

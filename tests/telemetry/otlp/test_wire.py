"""The wire format: what is written can be read, and what is damaged is an error and nothing worse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.otlp.wire import FIXED32, FIXED64, SIZED, VARINT, fields, sized, tag, varint


@given(st.integers(1, 1000), st.integers(0, (1 << 64) - 1), st.binary(max_size=300))
def test_what_is_written_can_be_read(number: int, whole: int, data: bytes) -> None:
    message = (
        (tag(number, VARINT) + varint(whole))
        + (tag(number + 1, SIZED) + sized(data))
        + (tag(number + 2, FIXED64) + bytes(8))
        + (tag(number + 3, FIXED32) + bytes(4))
    )
    assert list(fields(message)) == [
        (number, whole),
        (number + 1, data),
        (number + 2, bytes(8)),
        (number + 3, bytes(4)),
    ]


def test_a_negative_number_is_written_in_ten_bytes() -> None:
    assert len(varint(-1)) == 10
    assert list(fields(tag(1, VARINT) + varint(-1))) == [(1, (1 << 64) - 1)]


@given(st.binary(max_size=60))
def test_whatever_comes_is_read_to_its_end_or_is_a_value_error(message: bytes) -> None:
    said, read = "", None
    try:
        read = list(fields(message))
    except ValueError as error:
        said = str(error)
    if read is None:
        assert any(word in said for word in ("message", "number", "written")), "it says what is wrong"
    else:
        assert list(fields(message + message)) == read + read


@pytest.mark.parametrize(
    "message",
    [b"\x08", b"\x0a\x05ab", b"\x08" + b"\xff" * 10 + b"\x01", b"\x0b", b"\x09\x00"],
    ids=["no value", "cut off", "no end", "a group", "half a number"],
)
def test_a_damaged_message_is_an_error(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"message|number|written"):
        list(fields(message))

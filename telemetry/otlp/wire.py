"""The wire format of protobuf: what messages are made of.

A field is its tag, which says its number and how it is written, and then its value.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, SIZED, FIXED32 = 0, 1, 2, 5
"""How a value is written: in groups of seven bits, in eight bytes, behind its size, in four bytes."""

_ONE_BYTE = tuple(bytes((number,)) for number in range(128))
_LENGTHS = {FIXED64: 8, FIXED32: 4}
_INT64 = (1 << 64) - 1


def tag(number: int, kind: int) -> bytes:
    """What stands before the value of a field."""
    return varint(number << 3 | kind)


def varint(number: int) -> bytes:
    """A whole number below 2**64 in groups of seven bits, the lowest first; a negative one is 2**64 more."""
    if 0 <= number < 128:
        return _ONE_BYTE[number]
    number &= _INT64
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def sized(value: bytes) -> bytes:
    """A value behind its size."""
    size = len(value)
    return (_ONE_BYTE[size] if size < 128 else varint(size)) + value


def text(value: str) -> bytes:
    """The same of a text. What no UTF-8 can say, a lone surrogate, becomes a question mark."""
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        encoded = value.encode(errors="replace")
    return sized(encoded)


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbers and values of a message's fields, as they come; `ValueError` where it is none."""
    place = 0
    while place < len(message):
        key, place = _read_varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, place = _read_varint(message, place)
            yield number, value
            continue
        if kind == SIZED:
            length, place = _read_varint(message, place)
        elif kind in _LENGTHS:
            length = _LENGTHS[kind]
        else:
            raise ValueError(f"a field is written in an unknown way, {kind}")
        if place + length > len(message):
            raise ValueError("a message ends within a field")
        yield number, message[place : place + length]
        place += length


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    """The number that begins at a place, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("a message ends within a number")
        group = message[place]
        place += 1
        number |= (group & 127) << shift
        if group < 128:
            return number & _INT64, place
    raise ValueError("a number has no end")

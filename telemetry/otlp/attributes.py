"""Attributes, and values of any type, as OTLP writes them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from telemetry.otlp.wire import FIXED64, SIZED, VARINT, sized, tag, text, varint

logger = logging.getLogger("telemetry")

SHORT, SMALL = 32, 1 << 16
"""What is remembered with its key: texts of so many characters, names of tasks and queues; numbers below
that, ports and attempts. Ids are longer.
"""

# fields of AnyValue
_STRING = tag(1, SIZED)
_BOOL = tag(2, VARINT)
_INT = tag(3, VARINT)
_DOUBLE = Struct("<cd").pack
_DOUBLE_TAG = tag(4, FIXED64)
_ARRAY = tag(5, SIZED)
_MAPPING = tag(6, SIZED)
_BYTES = tag(7, SIZED)

# of KeyValue
_KEY = tag(1, SIZED)
_VALUE = tag(2, SIZED)

_ITEM = tag(1, SIZED)
"""Of ArrayValue and KeyValueList."""

_INT64 = 1 << 63


def attributes(before: bytes, found: Mapping[str, Any] | None) -> bytes:
    """Each attribute behind the tag `before`.

    One whose value is of a type that OTLP does not know is left out; that is told of once in a process.
    """
    if not found:
        return b""
    encoded = [b""]
    add = encoded.append
    for key, value in _plain(found).items():
        kind = type(value)
        try:
            if (kind is str and len(value) <= SHORT) or (kind is int and 0 <= value < SMALL):
                add(_remembered(key, value))
            else:
                add(_pair(key, value))
        except Exception as error:  # noqa: BLE001 - it is told of
            _Complaint.about(key, error)
    return before.join(encoded)


def any_value(value: Any) -> bytes:
    """An AnyValue; `TypeError` where the type of the value, or of one within it, is not known to OTLP.

    A whole number that does not fit into 64 bits is written as a text.
    """
    if isinstance(value, str):
        return _STRING + text(value)
    if value is None:
        return b""
    if isinstance(value, bool):
        return _BOOL + varint(value)
    if isinstance(value, int):
        return _INT + varint(value) if -_INT64 <= value < _INT64 else _STRING + text(str(value))
    if isinstance(value, float):
        return _DOUBLE(_DOUBLE_TAG, value)
    if isinstance(value, bytes):
        return _BYTES + sized(value)
    if isinstance(value, Sequence):
        return _ARRAY + sized(b"".join([_ITEM + sized(any_value(one)) for one in value]))
    if isinstance(value, Mapping):
        pairs = [_ITEM + _pair(str(key), inner) for key, inner in value.items()]
        return _MAPPING + sized(b"".join(pairs))
    raise TypeError(f"{type(value).__name__} is no type of OTLP")


def body(value: Any) -> bytes:
    """An AnyValue; empty, and told of as an attribute is, where the type of the value is not known."""
    try:
        return any_value(value)
    except Exception as error:  # noqa: BLE001 - it is told of
        _Complaint.about("body", error)
        return b""


class _Complaint:
    """A value that could not be encoded: the first one is told of."""

    told = False

    @classmethod
    def about(cls, name: str, error: Exception) -> None:
        if not cls.told:
            cls.told = True
            told = "%s was left out of what is exported: %s; no other one is told of"
            logger.warning(told, name, error)


def _plain(found: Any) -> Mapping[str, Any]:
    """The same as a dict: that of the SDK is slow to walk through, but gives a copy of the dict in it."""
    try:
        return found.copy()  # type: ignore[no-any-return]
    except AttributeError:
        return dict(found)


def _pair(key: str, value: Any) -> bytes:
    """A KeyValue behind its size."""
    return sized(_key(key) + sized(any_value(value)))


@lru_cache(1024)
def _key(key: str) -> bytes:
    """The field of a key, and the tag of the value after it."""
    return _KEY + text(key) + _VALUE


@lru_cache(512)
def _remembered(key: str, value: str | int) -> bytes:
    """The same. A bool or a float is not to come here: it equals a whole number."""
    return _pair(key, value)

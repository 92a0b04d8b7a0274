"""What a batch is sent in: once for each resource and each scope, what was made there.

It is the same for spans and for log records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.otlp.attributes import attributes
from telemetry.otlp.wire import SIZED, sized, tag, text
from telemetry.resting import Rests

# of the request
_OF_RESOURCE = tag(1, SIZED)

# of ResourceSpans and ResourceLogs, and of ScopeSpans and ScopeLogs
_ABOUT = tag(1, SIZED)
_INNER = tag(2, SIZED)
_SCHEMA = tag(3, SIZED)

# of Resource
_RESOURCE_ATTRIBUTE = tag(1, SIZED)

# of InstrumentationScope
_SCOPE_NAME = tag(1, SIZED)
_SCOPE_VERSION = tag(2, SIZED)
_SCOPE_ATTRIBUTE = tag(3, SIZED)


class Made(Protocol):
    """A span or a record: it knows where it was made."""

    @property
    def resource(self) -> Resource:
        """What made it."""

    @property
    def instrumentation_scope(self) -> InstrumentationScope | None:
        """Which code made it."""


class Request(NamedTuple):
    """A batch as it is sent."""

    data: bytes
    left_out: int
    """How many of the batch are not in it."""
    fault: Exception | None
    """Why the last one of them is not."""


T = TypeVar("T", bound=Made)


def request(batch: Iterable[T], encode: Callable[[T], bytes]) -> Request:
    """The batch, without those that cannot be encoded."""
    groups = _Groups()
    left_out, fault = 0, None
    rests = Rests()
    for one in batch:
        rests.take()
        try:
            groups.of(one).append(sized(encode(one)))
        except Exception as error:  # noqa: BLE001 - it is told of
            left_out, fault = left_out + 1, error
    return Request(groups.encoded(), left_out, fault)


class _Groups:
    """What has been encoded, by its resource and scope: those that are written alike are one."""

    def __init__(self) -> None:
        self._by_content: dict[tuple[bytes, bytes], dict[tuple[bytes, bytes], list[bytes]]] = {}
        self._by_identity: dict[tuple[int, int], tuple[Any, list[bytes]]] = {}

    def of(self, one: Made) -> list[bytes]:
        """Those that were made where this one was."""
        resource, scope = one.resource, one.instrumentation_scope
        known = self._by_identity.get((id(resource), id(scope)))
        if known is None:
            scopes = self._by_content.setdefault(_resource(resource), {})
            # they are kept, so that nothing else gets their ids
            known = (resource, scope), scopes.setdefault(_scope(scope), [])
            self._by_identity[id(resource), id(scope)] = known
        return known[1]

    def encoded(self) -> bytes:
        """All of them."""
        of_resources = []
        for (resource, its_schema), scopes in self._by_content.items():
            inner = [
                _INNER + sized(b"".join([scope, _INNER, _INNER.join(members), schema]))
                for (scope, schema), members in scopes.items()
                if members
            ]
            if inner:
                of_resources.append(_OF_RESOURCE + sized(b"".join([resource, *inner, its_schema])))
        return b"".join(of_resources)


def _resource(resource: Resource) -> tuple[bytes, bytes]:
    about = attributes(_RESOURCE_ATTRIBUTE, resource.attributes)
    return _ABOUT + sized(about), _schema(resource.schema_url)


def _scope(scope: InstrumentationScope | None) -> tuple[bytes, bytes]:
    if scope is None:
        return _ABOUT + sized(b""), b""
    about = _SCOPE_NAME + text(scope.name)
    if scope.version:
        about += _SCOPE_VERSION + text(scope.version)
    about += attributes(_SCOPE_ATTRIBUTE, scope.attributes)
    return _ABOUT + sized(about), _schema(scope.schema_url)


def _schema(url: str | None) -> bytes:
    return _SCHEMA + text(url) if url else b""

"""A model of the conventions, as open-telemetry/semantic-conventions publishes it in YAML, resolved.

Read are both of its formats: `groups`, with attributes that are defined by `id` or taken by `ref`, and
`definition/2`, with `attributes`, `attribute_groups` and `spans`. What stands near wins over what is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

RECOMMENDED = "recommended"
"""What an attribute is whose requirement level is not given."""

_FORMAT = re.compile(r"`(\{[^`]*\})`")
_SEVERITY = re.compile(r"\(severity number (\d+)\)")


@dataclass(frozen=True)
class Attribute:
    """What a span or a record may have."""

    type: str = "string"
    level: str = RECOMMENDED
    """`required`, `conditionally_required`, `recommended` or `opt_in`."""
    members: frozenset[str] = frozenset()
    """Of an enum: those that are not deprecated."""
    is_deprecated: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class SpanType:
    """A span of the model."""

    kind: str
    """In upper case, as OTLP has it."""
    name: str
    """Its form, with `{...}` for what is put in."""
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Event:
    """A log record of the model."""

    severity: int
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Model:
    """All that there is to hold spans and records against."""

    schema_url: str
    registry: Mapping[str, Attribute]
    spans: Mapping[str, SpanType]
    """By type, such as `messaging.send.client`."""
    events: Mapping[str, Event]
    """By name, such as `messaging.send.exception`."""


def read_model(folder: Path) -> Model:
    """The model in a folder of YAML files, `model/` of the published repository."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.yaml"))]
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))
    resolver = _Resolver(document for document in documents if document)
    return Model(
        schema_url=manifest["schema_url"],
        registry=resolver.registry,
        spans=dict(resolver.spans()),
        events=dict(resolver.events()),
    )


class _Resolver:
    def __init__(self, documents: Iterable[Mapping[str, Any]]) -> None:
        self.registry: dict[str, Attribute] = {}
        self._groups: dict[str, Mapping[str, Any]] = {}
        self._spans: list[Mapping[str, Any]] = []
        for document in documents:
            self._spans += document.get("spans", ())
            for group in (*document.get("groups", ()), *document.get("attribute_groups", ())):
                self._groups[group["id"]] = group
                self._define(group.get("attributes", ()))
            self._define(document.get("attributes", ()))

    def spans(self) -> Iterator[tuple[str, SpanType]]:
        """Those of the second format; in the first, no span of messaging is left."""
        for span in self._spans:
            name = _FORMAT.search(span["name"]["note"])
            form = name[1] if name else ""
            yield span["type"], SpanType(span["kind"].upper(), form, self._attributes(span))

    def events(self) -> Iterator[tuple[str, Event]]:
        """Every record that says how severe it is."""
        for group in self._groups.values():
            severity = _SEVERITY.search(group.get("note", ""))
            if group.get("type") == "event" and severity:
                yield group["name"], Event(int(severity[1]), self._attributes(group))

    def _define(self, attributes: Iterable[Mapping[str, Any]]) -> None:
        for one in attributes:
            name = one.get("id") or one.get("key")
            if name:
                self.registry[name] = _defined(one)

    def _attributes(self, of: Mapping[str, Any]) -> dict[str, Attribute]:
        found: dict[str, Attribute] = {}
        if "extends" in of:
            found |= self._attributes(self._groups[of["extends"]])
        for one in of.get("attributes", ()):
            if "ref_group" in one:
                found |= self._attributes(self._groups[one["ref_group"]])
                continue
            name = one.get("ref") or one.get("id") or one["key"]
            known = found.get(name) or self.registry[name]
            found[name] = replace(known, level=_level(one) or known.level)
        return found


def _defined(one: Mapping[str, Any]) -> Attribute:
    members = one["type"].get("members", ()) if isinstance(one["type"], dict) else ()
    kinds = {type(member["value"]) for member in members}
    return Attribute(
        type=("int" if kinds == {int} else "string") if members else one["type"],
        level=_level(one) or RECOMMENDED,
        members=frozenset(member["value"] for member in members if "deprecated" not in member),
        is_deprecated="deprecated" in one,
    )


def _level(one: Mapping[str, Any]) -> str:
    """A level stands alone, or with a text that says when it holds."""
    level = one.get("requirement_level", "")
    return str(next(iter(level)) if isinstance(level, dict) else level)

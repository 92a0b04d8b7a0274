"""The model is read as its authors mean it, and what we wrote down of it is what it says."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest
from opentelemetry.semconv._incubating.attributes import (
    error_attributes,
    messaging_attributes,
    network_attributes,
    server_attributes,
)
from opentelemetry.semconv.attributes import exception_attributes
from opentelemetry.semconv.schemas import Schemas

from telemetry.conventions import SCHEMA_URL
from tests.telemetry.conventions.model import Attribute, Event, SpanType, read_model
from tests.telemetry.conventions.released import MODEL, MODEL_FOLDER, OPERATIONS, RELEASED, SYSTEMS

FILES = {
    "manifest.yaml": "schema_url: https://example.org/schemas/1.0.0",
    "letters/registry.yaml": """
groups:
  - id: registry.letters
    type: attribute_group
    attributes:
      - id: letter.weight
        type: int
      - id: letter.class
        type:
          members:
            - {id: first, value: first}
            - {id: second, value: second, deprecated: {reason: obsoleted}}
      - id: letter.stamp
        type: string
        deprecated: {reason: renamed, renamed_to: letter.class}
  - id: letters.any
    type: attribute_group
    attributes:
      - ref: letter.weight
        requirement_level: {conditionally_required: If it was weighed.}
  - id: letters.lost
    name: letter.lost
    type: event
    extends: letters.any
    note: SHOULD set the severity to WARN (severity number 13).
    attributes:
      - ref: letter.class
        requirement_level: opt_in
""",
    "letters/second-format.yaml": """
file_format: definition/2
attributes:
  - key: post.office
    type: string
attribute_groups:
  - id: letters.posted
    attributes:
      - ref_group: letters.any
      - ref: post.office
        requirement_level: required
spans:
  - type: letter.post
    kind: producer
    name:
      note: SHOULD be `{post.office} {destination}`.
    attributes:
      - ref_group: letters.posted
      - ref: post.office
        sampling_relevant: true
      - ref: letter.weight
        requirement_level: recommended
      - ref: letter.stamp
""",
}


def test_references_groups_extensions_levels_and_members_are_resolved(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    model = read_model(tmp_path)
    assert model.schema_url == "https://example.org/schemas/1.0.0"
    assert set(model.registry) == {"letter.weight", "letter.class", "letter.stamp", "post.office"}
    assert model.spans == {
        "letter.post": SpanType(
            "PRODUCER",
            "{post.office} {destination}",
            {
                "letter.weight": Attribute("int", "recommended"),
                "post.office": Attribute("string", "required"),
                "letter.stamp": Attribute(is_deprecated=True),
            },
        )
    }
    assert model.events == {
        "letter.lost": Event(
            13,
            {
                "letter.weight": Attribute("int", "conditionally_required"),
                "letter.class": Attribute("string", "opt_in", frozenset({"first"})),
            },
        )
    }


@pytest.mark.skipif(
    not MODEL_FOLDER,
    reason="FLUID_TEST_CONVENTIONS does not say where the published model is: make conventions",
)
def test_what_we_wrote_down_is_what_the_published_model_says() -> None:
    assert MODEL.schema_url == RELEASED.schema_url, "the checkout is of another release"
    assert {name: MODEL.registry[name] for name in RELEASED.registry} == RELEASED.registry
    for name, expected in RELEASED.spans.items():
        assert MODEL.spans[name] == expected
    for name, event in RELEASED.events.items():
        assert MODEL.events[name] == event
    ours = [name for name in MODEL.spans if name.startswith("messaging.") and name.count(".") == 2]
    assert set(ours) == set(RELEASED.spans), "spans that are those of no system in particular"


def test_the_release_is_that_of_our_schema_url_and_the_newest_of_the_package() -> None:
    assert SCHEMA_URL == RELEASED.schema_url == list(Schemas)[-1].value


def _names(*modules: ModuleType) -> frozenset[str]:
    values = (getattr(module, name) for module in modules for name in dir(module) if name.isupper())
    return frozenset(value for value in values if isinstance(value, str))


def _values(members: type[Enum]) -> frozenset[str]:
    return frozenset(one.value for one in members)


def test_the_names_and_members_are_those_of_the_package() -> None:
    known = _names(
        error_attributes, exception_attributes, messaging_attributes, network_attributes, server_attributes
    )
    of_spans = {name for one in RELEASED.spans.values() for name in one.attributes}
    of_events = {name for one in RELEASED.events.values() for name in one.attributes}
    assert of_spans | of_events <= known
    assert _values(messaging_attributes.MessagingOperationTypeValues) - {"deliver", "publish"} == OPERATIONS
    assert _values(messaging_attributes.MessagingSystemValues) == SYSTEMS

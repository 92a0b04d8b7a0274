"""A label has few values, all of them known before: what may be anything belongs into logs and traces."""

from __future__ import annotations

import re

from telemetry.names import CATALOGUE
from tests.house.reading import assert_none

OPEN = {
    "task": "registered, and within the budget; any other is `other`",
    "event": "of the events' table",
    "handler": "registered",
    "version": "one in a process",
    "within": "one for each objective of a task",
}
"""Labels whose values are not in the catalogue, and what bounds them."""

ANYTHING = re.compile(
    r"(^|_)(id|ids|key|host|hostname|instance|machine|node|pod|ip|addr|address|port|pid|process|thread|consumer"
    r"|worker|owner|user|run|span|trace|error|exception|message|text|traceback|params|result|url|path|time)($|_)"
)
"""Words of what may be anything: identities, places, texts and instants."""

LABELS = {(row.name, label.name, label.values) for row in CATALOGUE for label in row.labels}


def test_no_label_is_named_after_what_may_be_anything() -> None:
    assert_none(
        [f"{metric}: {label}" for metric, label, _ in LABELS if ANYTHING.search(label)],
        "Labels that identify a run, a process or a person, or hold a text: log it, or put it into a span.",
    )


def test_the_values_of_a_label_are_in_the_catalogue_or_bounded() -> None:
    assert_none(
        [f"{metric}: {label}" for metric, label, values in LABELS if not values and label not in OPEN],
        f"Labels without a closed set of values; only {', '.join(OPEN)} may be open.",
    )


def test_the_values_of_a_label_are_words() -> None:
    assert_none(
        [
            f"{metric}: {label}={value!r}"
            for metric, label, values in LABELS
            for value in values
            if not re.fullmatch(r"[a-z][a-z_]*", value)
        ],
        "Values of labels that are no plain words.",
    )


def test_no_label_has_many_values() -> None:
    assert_none(
        [f"{metric}: {label} has {len(values)}" for metric, label, values in LABELS if len(values) > 24],
        "Labels with many values.",
    )

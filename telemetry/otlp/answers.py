"""What a receiver answers, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from fluid.clock import timestamp
from fluid.masking import mask_text
from telemetry.otlp.wire import fields

PASSING = frozenset({429, 502, 503, 504})
"""Those that are tried again: the receiver is busy, or not there yet."""

MOST_SHOWN = 200
"""Characters of what a receiver says of itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """That of a receiver."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    """At least the beginning of it."""

    @property
    def is_success(self) -> bool:
        """Whether the batch has arrived."""
        return 200 <= self.status < 300

    @property
    def passes(self) -> bool:
        """Whether a later try may be answered otherwise."""
        return self.status in PASSING

    @property
    def wait(self) -> float | None:
        """Seconds that it asks to wait for; None where it does not, or nobody can tell what it asks."""
        asked = self.headers.get("retry-after", "").strip()
        if asked.isdecimal():
            return float(asked)
        try:
            return max(parsedate_to_datetime(asked).timestamp() - timestamp(), 0.0)
        except (ValueError, OverflowError):
            return None

    def refused(self, sent: int) -> tuple[int, str]:
        """How many of the `sent` a receiver that took the batch did not take, and why."""
        try:
            count, why = _partial_success(self.body)
        except ValueError:  # it speaks another language, or its answer was cut off
            return 0, ""
        return (count, f"{count} of {sent} were refused: {why}") if 0 < count <= sent else (0, "")


def words(text: str) -> str:
    """What others say, in one line, bounded, and without what is secret."""
    plain = "".join(one if one.isprintable() else " " for one in text)
    return mask_text(" ".join(plain.split()))[:MOST_SHOWN]


def _partial_success(body: bytes) -> tuple[int, str]:
    """How many were refused, and why."""
    partial = dict(fields(body)).get(1, b"")
    told = dict(fields(partial)) if isinstance(partial, bytes) else {}
    count, why = told.get(1, 0), told.get(2, b"")
    said = words(why.decode(errors="replace")) if isinstance(why, bytes) else ""
    return (count if isinstance(count, int) else 0), said or "it does not say why"

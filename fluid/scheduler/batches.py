"""How much goes to the broker together: whoever sends more keeps others waiting, and memory taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MAX_RUNS = 500
"""Runs in one script call; a longer script would keep other callers of the broker waiting."""

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of messages, or of outcomes, in one script call."""


def parts_of(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each part of things of these sizes begins and ends: within both bounds, and never empty."""
    if 0 < len(sizes) <= MAX_RUNS and sum(sizes) <= MAX_BYTES:
        yield 0, len(sizes)
        return
    start = size = 0
    for at, one in enumerate(sizes):
        size += one
        if at > start and (at - start == MAX_RUNS or size > MAX_BYTES):
            yield start, at
            start, size = at, one
    if sizes:
        yield start, len(sizes)

"""What a caller does while the answer to its question is on its way, so that nobody waits for it.

It is called as soon as the question has left, or when it cannot leave at once; it may be called again.
"""

from __future__ import annotations

from collections.abc import Callable

Work = Callable[[], None]


def nothing() -> None:
    """The work of a caller that has none."""

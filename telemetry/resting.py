"""A rest for threads that compute beside the event loop.

The interpreter lets the loop's thread wait five milliseconds for one that computes, unless that one stops
by itself.
"""

from __future__ import annotations

from time import sleep

REST = 50e-6
"""Seconds: enough for another thread to wake up and take its turn."""


def rest() -> None:
    """Let the event loop have its turn; to be called every few hundred microseconds."""
    sleep(REST)

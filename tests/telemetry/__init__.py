"""Tests of the listener: what it counts, and how it tells."""

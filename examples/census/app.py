"""The census, for `fluid run examples.census.app:consumer`."""

from __future__ import annotations

from examples.census.service import build

consumer = build()

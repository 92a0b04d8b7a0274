"""Where notices go to, a room for each kind."""

from __future__ import annotations

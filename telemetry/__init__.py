"""What the tasks of `fluid` do, made visible: metrics, health and a side server."""

from __future__ import annotations

from fluid import __version__

__all__ = ["__version__"]

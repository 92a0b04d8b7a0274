"""Background tasks on asyncio, through Redis.

The doors are `fluid.scheduler`, `fluid.workers` and `fluid.errors`.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"

"""The garbage collector, set for a process that serves and does nothing else."""

from __future__ import annotations

import gc

__all__ = ["spare_the_collector"]

YOUNG_OBJECTS = 10_000
"""So many objects are made, beyond those that have gone, before the garbage collector looks at them."""


def spare_the_collector() -> None:
    """Have garbage looked for less often, once everything is there that stays.

    What a run needs goes when the run does, without the collector; and what was there before the first run
    stays. With the interpreter's own thresholds, looking at both took up to a sixth of a consumer's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])

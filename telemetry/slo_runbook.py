"""The beginning of a runbook for the objectives of one queue; what helps is for their owners to write."""

from __future__ import annotations

from collections.abc import Iterable

from telemetry.slo import BURNS, PERIOD, Objective

HEAD = """# Objectives of {queue}

A section for each objective, where its alerts lead to. This page was begun by `fluid rules`, which never
writes over it: add who owns each task, and what has helped.

A `critical` alert says that the budget of {period} would be gone in days, a `warning` in weeks.
"""

SECTION = """
## {task} {name}

**Means:** {promise}, over {period}. This is missed so often that the budget burns too fast.

**Confirm:** how fast it burns (1 is as fast as it may), and since when.

{queries}

{look}

**Do:** for the owner of `{task}` to write.
"""

LOOK = {
    "success": "`fluid runs ls --state failure --task {task}` and `fluid runs ls --state dead --task {task}` "
    "list runs, `fluid runs show ID` tells what went wrong with one.",
    "start": "`fluid status` shows how many runs wait, and whether consumers have slots.",
    "finish": "`fluid runs ls --state running --task {task}` lists what runs now; retries and delays that "
    "were asked for count.",
}


def runbook(queue: str, objectives: Iterable[Objective]) -> str:
    """The page."""
    return HEAD.format(queue=queue, period=PERIOD) + "".join(map(_section, objectives))


def _section(objective: Objective) -> str:
    queries = (f"    {objective.bad(burn.long)} / {objective.budget:.10g}" for burn in BURNS[:2])
    return SECTION.format(
        task=objective.task,
        name=objective.name,
        promise=objective.promise,
        period=PERIOD,
        queries="\n".join(queries),
        look=LOOK[objective.name].format(task=objective.task),
    )

"""The catalogue as a page of the documentation: `python -m telemetry.page` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from telemetry.names import CATALOGUE, SERIES_PER_SCHEDULE, SERIES_PER_TASK

_HEAD = """# Metrics

Every series carries `queue`. Names are in base units; durations are seconds, timestamps seconds since the
epoch. A metric of scope *process* is a fact of one process: `sum` it. One of scope *scheduler* exists in a
`TaskScheduler`, for its tasks with a schedule. One of scope *fleet* is a fact of the queue, read at scrape
and the same at every consumer: `max by (queue, ...)` it, never `sum`; it is absent while the broker is away.

`task` is a task registered in the process; anything else, and what is beyond the budget, is `other`. Every
other set of label values is closed and listed; a reason that is in no list counts as `other`. Runs executed
locally (`execute`) are not counted. Every series exists from the first scrape on, at zero.

Beside these, the series of the Prometheus client about process and interpreter are served: `process_*` and
`python_*`.
"""


def page() -> Iterable[str]:
    """The catalogue in Markdown, line by line."""
    yield from _HEAD.splitlines()
    yield ""
    yield f"A task has {SERIES_PER_TASK} series in a process."
    yield f"One with a schedule has {SERIES_PER_SCHEDULE} more in a scheduler."
    yield ""
    yield "| metric | kind | scope | labels | meaning |"
    yield "|---|---|---|---|---|"
    for row in CATALOGUE:
        labels = ", ".join(f"`{label.name}`" for label in row.labels) or "-"
        yield f"| `{row.name}` | {row.kind} | {row.scope} | {labels} | {row.help} |"
    yield from ("", "## Labels", "", "| metric | label | values |", "|---|---|---|")
    for row in CATALOGUE:
        for label in row.labels:
            if label.values:
                values = ", ".join(f"`{value}`" for value in label.values)
                yield f"| `{row.name}` | `{label.name}` | {values} |"
    yield from ("", "## Buckets", "", "| metric | upper bounds in seconds |", "|---|---|")
    for row in CATALOGUE:
        if row.buckets:
            yield f"| `{row.name}` | {', '.join(f'{bound:g}' for bound in row.buckets)} |"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in page())

"""What more than one board asks."""

from __future__ import annotations

from dashboards.boards import promql
from dashboards.boards.promql import told, total
from telemetry.names import (
    BOOKS_RUNS,
    QUEUE_LABEL,
    QUEUE_OLDEST,
    QUEUE_RUNS,
    RUNS_ENDED,
    SLOTS,
    SLOTS_BUSY,
)

NEVER = 30 * 24 * 3600
"""Seconds that stand for no end in sight: a number that a graph can draw."""

VERDICTS = 'state=~"success|failure"'
"""Runs that could have succeeded: what was aborted on purpose is no failure."""


def failure_ratio(*matchers: str, by: tuple[str, ...] = (), window: str = promql.PACE) -> str:
    """The share of runs that failed among those that succeeded or failed."""
    failed = total(promql.rate(promql.of(RUNS_ENDED, 'state="failure"', *matchers), window), *by)
    judged = total(promql.rate(promql.of(RUNS_ENDED, VERDICTS, *matchers), window), *by)
    return promql.ratio(failed, judged)


def depth(status: str, *by: str) -> str:
    """How many open runs are there."""
    return total(told(QUEUE_RUNS, f'status="{status}"'), *by)


def time_to_drain(*by: str) -> str:
    """Seconds until what is ready now will have ended, at the pace of the last minutes, of each queue."""
    ready = depth("ready", QUEUE_LABEL)
    pace = total(told(BOOKS_RUNS, 'outcome=~"success|failure|aborted"', window="5m"), QUEUE_LABEL)
    drain = f"clamp_max(({ready} > 0) / {pace}, {NEVER}) or {ready} * 0"
    return promql.largest(drain, *by)


def oldest_ready(*by: str) -> str:
    """How long the oldest ready run waits."""
    return promql.largest(told(QUEUE_OLDEST), *by)


def busy_share(*by: str) -> str:
    """The share of slots that are taken."""
    return promql.ratio(total(promql.of(SLOTS_BUSY), *by), total(promql.of(SLOTS), *by))

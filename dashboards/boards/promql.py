"""Queries, made of the rows of the catalogue: no name of a metric is written here."""

from __future__ import annotations

from telemetry.names import QUEUE_LABEL, Metric

OF_JOB = 'job=~"$job"'
OF_QUEUE = f'{QUEUE_LABEL}=~"$queue"'
OF_TASK = 'task=~"$task"'

PACE = "$__rate_interval"
"""As long as Grafana finds fit for what is looked at."""

INSTANCE = "instance"
"""The label that Prometheus gives to each process that it scrapes."""


PROCESS_CPU = "process_cpu_seconds_total"
PROCESS_MEMORY = "process_resident_memory_bytes"
PROCESS_FILES = "process_open_fds"
PROCESS_MOST_FILES = "process_max_fds"
PROCESS_START = "process_start_time_seconds"
COLLECTIONS = "python_gc_collections_total"
"""What the Prometheus client tells of every process, beside the catalogue."""

UP = "up"
SCRAPE_SECONDS = "scrape_duration_seconds"
SCRAPE_SAMPLES = "scrape_samples_scraped"
ALERTS = "ALERTS"
"""What Prometheus itself tells; it knows of no queue, but for the labels that an alert has."""


def of(metric: Metric | str, *matchers: str, part: str = "") -> str:
    """The series of a metric in the jobs and queues that are chosen; `part`: `bucket`, `sum` or `count`."""
    name = metric if isinstance(metric, str) else metric.name
    name = f"{name}_{part}" if part else name
    return f"{name}{{{', '.join((OF_JOB, OF_QUEUE, *matchers))}}}"


def rate(series: str, window: str = PACE) -> str:
    """How many a second."""
    return f"rate({series}[{window}])"


def increase(series: str, window: str = PACE) -> str:
    """How many in a window."""
    return f"increase({series}[{window}])"


def total(value: str, *by: str) -> str:
    """All of it together. Not for what every consumer tells of the queue: that is `told`."""
    return f"sum by ({', '.join(by)}) ({value})" if by else f"sum({value})"


def largest(value: str, *by: str) -> str:
    """The largest of them."""
    return f"max by ({', '.join(by)}) ({value})" if by else f"max({value})"


def smallest(value: str, *by: str) -> str:
    """The smallest of them."""
    return f"min by ({', '.join(by)}) ({value})" if by else f"min({value})"


def told(metric: Metric, *matchers: str, window: str = "") -> str:
    """A fact of the queue, once, however many consumers tell it; its rate, with a window."""
    series = of(metric, *matchers)
    labels = (QUEUE_LABEL, *(label.name for label in metric.labels))
    return largest(rate(series, window) if window else series, *labels)


def quantile(
    share: float, metric: Metric, *matchers: str, by: tuple[str, ...] = (), window: str = PACE
) -> str:
    """So large are all but the largest of them; nothing where nothing was observed."""
    buckets = total(rate(of(metric, *matchers, part="bucket"), window), "le", *by)
    return f"histogram_quantile({share}, {buckets}) >= 0"


def ratio(part: str, whole: str) -> str:
    """One by the other; nothing where the other is 0, for then there is nothing to say."""
    return f"{part} / ({whole} > 0)"


def age(instant: str) -> str:
    """Seconds since an instant; nothing where there was none yet."""
    return f"time() - ({instant} > 0)"


def or_zero(value: str) -> str:
    """0 where there is nothing."""
    return f"{value} or vector(0)"


def any_of(value: str) -> str:
    """Only what is not 0: of many, most have nothing to say."""
    return f"{value} > 0"


def top(count: int, value: str) -> str:
    """The largest few."""
    return f"topk({count}, {value})"

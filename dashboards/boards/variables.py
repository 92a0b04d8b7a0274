"""What can be chosen at the top of a board."""

from __future__ import annotations

from grafana_foundation_sdk.models import common, dashboard

from dashboards.boards.panel import PROMETHEUS
from dashboards.boards.promql import OF_JOB, OF_QUEUE
from telemetry.names import BUILD, QUEUE_LABEL, RUNS_STARTED, SCHEDULE_NEXT_FIRE, TASK, Metric


def source(name: str, plugin: str, label: str) -> dashboard.VariableModel:
    """A data source of this kind; the first there is, until another one is chosen."""
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.DATASOURCE,
        name=name,
        label=label,
        query=plugin,
        refresh=dashboard.VariableRefresh.ON_DASHBOARD_LOAD,
    )


def values_of(
    name: str, label: str, metric: Metric, *matchers: str, several: bool = True
) -> dashboard.VariableModel:
    """The values that a label has in the series of a metric: all of them, until some are chosen."""
    query = f"label_values({metric.name}{{{', '.join(matchers)}}}, {name})"
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.QUERY,
        name=name,
        label=label,
        datasource=common.DataSourceRef(type_val=PROMETHEUS.type_val, uid=PROMETHEUS.uid),
        query={"query": query, "refId": f"{name}-values", "qryType": 1},
        refresh=dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=dashboard.VariableSort.ALPHABETICAL_ASC,
        multi=several,
        include_all=several,
        current=dashboard.VariableOption(text=["All"], value=["$__all"]) if several else None,
    )


SOURCES = [
    source("datasource", "prometheus", "Metrics"),
    source("logs", "loki", "Logs"),
    source("traces", "tempo", "Traces"),
]
QUEUES = [
    values_of("job", "Job", BUILD),
    values_of(QUEUE_LABEL, "Queue", BUILD, OF_JOB),
]
ONE_TASK = values_of(TASK.name, "Task", RUNS_STARTED, OF_JOB, OF_QUEUE, several=False)
SCHEDULED_TASKS = values_of(TASK.name, "Task", SCHEDULE_NEXT_FIRE, OF_JOB, OF_QUEUE)

"""The ways out of a board: to another board, to the logs and to the traces of what is looked at."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import quote

from grafana_foundation_sdk.models import dashboard

from dashboards.uids import Uid as Uid
from telemetry.rules import RUNBOOK

TAG = "fluid"
"""Every board has it, and leads to every other that has."""


ALL_LOGS = '{service_name=~".+"} | json | level=~"warning|error|critical"'
LOGS_OF_TASK = '{service_name=~".+"} | json | task="${task}"'
ALL_TRACES = '{ span.messaging.destination.name =~ "${queue:pipe}" && status = error }'
TRACES_OF_TASK = '{ span.fluid.task = "${task}" }'
FAILED_TRACES_OF_TASK = '{ span.fluid.task = "${task}" && status = error }'
"""What finds our lines and spans: `docs/logs.md` and `docs/traces.md` say what is on them."""


def to_board(uid: Uid, title: str) -> dashboard.DashboardLink:
    """To another board, with the same choices and time."""
    return _link(title, f"/d/{uid}", keep=True)


def address_of_task(label: str = "task") -> str:
    """The board of the task that the field `label` of a row names."""
    chosen = "${datasource:queryparam}&${job:queryparam}&${queue:queryparam}&${__url_time_range}"
    return f"/d/{Uid.task}?var-task=${{__data.fields.{label}}}&{chosen}"


def to_boards() -> dashboard.DashboardLink:
    """To every other board."""
    return dashboard.DashboardLink(
        title="Boards",
        type_val=dashboard.DashboardLinkType.DASHBOARDS,
        icon="dashboard",
        tooltip="The other boards, with the same choices and time",
        tags=[TAG],
        include_vars=True,
        keep_time=True,
    )


def to_runbook() -> dashboard.DashboardLink:
    """To what to do about each alert; where that is, `fluid dashboards export` is told."""
    return _link("Runbook", RUNBOOK, new_tab=True)


def to_logs(expr: str, title: str = "Logs") -> dashboard.DashboardLink:
    """To the lines that a query of LogQL finds in this time."""
    return _link(title, _explore("${logs}", {"expr": expr, "queryType": "range"}), new_tab=True)


def to_traces(expr: str, title: str = "Traces") -> dashboard.DashboardLink:
    """To the traces that a query of TraceQL finds in this time."""
    return _link(title, _explore("${traces}", {"query": expr, "queryType": "traceql"}), new_tab=True)


def _link(title: str, url: str, *, keep: bool = False, new_tab: bool = False) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(
        title=title,
        type_val=dashboard.DashboardLinkType.LINK,
        icon="external link",
        tooltip=title,
        url=url,
        target_blank=new_tab,
        include_vars=keep,
        keep_time=keep,
    )


def _explore(source: str, query: Mapping[str, str]) -> str:
    """An address of Grafana's Explore; what it holds of `${...}` is left for Grafana to fill in."""
    pane = {
        "datasource": source,
        "queries": [{"refId": "A", "datasource": {"uid": source}, **query}],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    parts = re.split(r"(\$\{[^}]+\})", json.dumps({"one": pane}, separators=(",", ":")))
    panes = "".join(part if part.startswith("${") else quote(part, safe="") for part in parts)
    return f"/explore?schemaVersion=1&panes={panes}&orgId=1"

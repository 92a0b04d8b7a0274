"""What a host is and does now, as plain data for a person or a script."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fluid.errors import BrokerError
from fluid.masking import mask
from fluid.scheduler import Task, TaskConsumer, TaskManager
from telemetry.budgets import budgets_of
from telemetry.gauges import SNAPSHOT_TIMEOUT, Snapshots
from telemetry.metrics import Metrics


async def status_of(host: TaskManager, snapshots: Snapshots, metrics: Metrics) -> dict[str, Any]:
    """Everything but secrets; `snapshot` and `consumers` are None while the broker is away."""
    snapshot = await snapshots.newest()
    own = await host.status()
    consuming = isinstance(host, TaskConsumer)
    dangers = sorted(host.broker_dangers) if isinstance(host, TaskConsumer) else []
    return {
        "type": host.type,
        "worker": host.worker_name,
        "consumer": host.consumer_name if isinstance(host, TaskConsumer) else None,
        "state": str(host.state),
        "queue": host.broker.queue,
        "broker": {"url": host.broker.url, "up": snapshot is not None, "dangers": dangers},
        "slots": host.config.max_concurrent_tasks if consuming else 0,
        "busy": host.num_concurrent_tasks if isinstance(host, TaskConsumer) else 0,
        "claiming": isinstance(host, TaskConsumer) and host.claiming,
        "tasks": [_task(task) for task in host.registry.values()],
        "objectives": [asdict(one) for one in budgets_of(host, metrics)],
        "snapshot": None if snapshot is None else asdict(snapshot),
        "consumers": None if snapshot is None else await _consumers(host),
        "handlers": [asdict(one) for one in host.handler_statistics()],
        "workers": mask(own.get("workers", own)),  # a worker of the user's tells what it likes
    }


def _task(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "description": task.description,
        "priority": str(task.priority),
        "schedule": task.schedule.describe() if task.schedule else None,
        "cpu_bound": task.cpu_bound,
    }


async def _consumers(host: TaskManager) -> list[dict[str, Any]] | None:
    try:
        async with asyncio.timeout(SNAPSHOT_TIMEOUT):
            return [asdict(one) for one in await host.broker.consumers()]
    except (BrokerError, TimeoutError):
        return None

"""Background tasks on asyncio through Redis: declare, queue, run, and know what became of it."""

from __future__ import annotations

from fluid.errors import Abort, Retry
from fluid.plugins import Plugin
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.consumer import TaskConsumer
from fluid.scheduler.dispatchers import TaskDispatcher
from fluid.scheduler.events import EVENTS, AsyncHandler, Event
from fluid.scheduler.fleet import FleetEvent
from fluid.scheduler.flows import chain, group
from fluid.scheduler.interceptors import Interceptor
from fluid.scheduler.manager import TaskManager
from fluid.scheduler.options import SLO, QueueOptions
from fluid.scheduler.registry import TaskRegistry
from fluid.scheduler.retry import RetryPolicy
from fluid.scheduler.run import TaskRun
from fluid.scheduler.scheduler import TaskScheduler
from fluid.scheduler.schedules import crontab, every
from fluid.scheduler.snapshot import Books, Snapshot
from fluid.scheduler.states import TaskPriority, TaskState
from fluid.scheduler.task import Task, task
from fluid.settings import TaskManagerConfig

__all__ = [
    "EVENTS",
    "SLO",
    "Abort",
    "AsyncHandler",
    "Books",
    "Event",
    "FleetEvent",
    "Interceptor",
    "Plugin",
    "QueueOptions",
    "Retry",
    "RetryPolicy",
    "Snapshot",
    "Task",
    "TaskBroker",
    "TaskConsumer",
    "TaskDispatcher",
    "TaskManager",
    "TaskManagerConfig",
    "TaskPriority",
    "TaskRegistry",
    "TaskRun",
    "TaskScheduler",
    "TaskState",
    "chain",
    "crontab",
    "every",
    "group",
    "task",
]

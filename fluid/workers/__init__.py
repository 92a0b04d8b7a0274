"""What starts, runs and stops on the event loop."""

from __future__ import annotations

from fluid.workers.async_consumer import AsyncConsumer
from fluid.workers.function import WorkerFunction
from fluid.workers.group import Workers
from fluid.workers.queue import QueueConsumer
from fluid.workers.worker import Worker

__all__ = ["AsyncConsumer", "QueueConsumer", "Worker", "WorkerFunction", "Workers"]

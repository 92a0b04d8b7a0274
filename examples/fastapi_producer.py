"""FastAPI producer: a web process that queues runs and answers how they went; consumers run elsewhere.

`uvicorn examples.fastapi_producer:app` serves it; `fluid run examples.fastapi_producer:consumer` does the
work. Both are told the broker by `FLUID_BROKER_URL`, or find the private one of this directory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

from fluid.errors import BrokerError, UnknownRunError
from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, task


class Order(BaseModel):
    """What is ordered; it is validated by the web process, and again where it is claimed."""

    article: str = Field(min_length=1)
    pieces: int = Field(default=1, ge=1)


@task
async def place(ctx: TaskRun[Order]) -> str:
    """Place an order."""
    return f"{ctx.params.pieces} x {ctx.params.article}"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """A manager is open as long as the application; it starts whether or not the broker is there."""
    manager = TaskManager()
    manager.register_task(place)
    async with manager:
        app.state.manager = manager
        yield


def manager_of(request: Request) -> TaskManager:
    """The manager of the application."""
    manager: TaskManager = request.app.state.manager
    return manager


app = FastAPI(lifespan=lifespan)
Manager = Annotated[TaskManager, Depends(manager_of)]


@app.post("/orders", status_code=202)
async def order(order: Order, manager: Manager) -> dict[str, Any]:
    """Queue a run; when this answers, the broker has it."""
    try:
        run = await manager.queue(place, **order.model_dump())
    except BrokerError as error:
        raise HTTPException(503, str(error)) from error
    return run.summary()


@app.get("/orders/{run_id}")
async def look(run_id: str, manager: Manager) -> dict[str, Any]:
    """How a run went, or how far it is."""
    try:
        return await manager.get_evidence(run_id)
    except UnknownRunError as error:
        raise HTTPException(404, str(error)) from error


consumer = TaskConsumer()
consumer.register_task(place)

"""The small examples do what they say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from examples import fastapi_producer
from fluid.scheduler import TaskConsumer
from tests.support.processes import PythonProcess


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ("hello", ["Hello, world!"]),
        ("periodic", ["tick heartbeat@"] * 3),
        (
            "own_handler",
            ["failure of ship in attempt 2: OutOfStockError", "'failure': 1, 'retry': 1, 'success': 2"],
        ),
    ],
)
async def test_an_example_ends_well_and_says_what_it_should(
    example: str, said: list[str], private: Mapping[str, str], tmp_path: Path
) -> None:
    async with PythonProcess("-m", f"examples.{example}", output=tmp_path / "said", env=private) as process:
        code = await process.wait()
    assert code == 0, process.output
    rest = process.output
    for words in said:
        assert words in rest, process.output
        rest = rest.partition(words)[2]


@pytest.fixture
def application_url(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The broker of the FastAPI application."""
    monkeypatch.setenv("FLUID_BROKER_URL", broker_url)
    return broker_url


async def test_a_web_process_queues_and_answers_how_it_went(application_url: str) -> None:
    app = fastapi_producer.app
    consumer = TaskConsumer(broker_url=application_url)
    consumer.register_task(fastapi_producer.place)
    async with app.router.lifespan_context(app), client_of(app) as client:
        answer = await client.post("/orders", json={"article": "lamp", "pieces": 2})
        assert answer.status_code == 202
        run_id = answer.json()["id"]
        waiting = await client.get(f"/orders/{run_id}")
        assert waiting.json()["state"] == "queued"
        async with consumer:
            run = await consumer.get_run(run_id)
            assert await run.result(timeout=10) == "2 x lamp"
        ended = await client.get(f"/orders/{run_id}")
        assert (ended.json()["state"], ended.json()["result"]) == ("success", "2 x lamp")


async def test_a_web_process_refuses_what_cannot_be_ordered(application_url: str) -> None:
    app = fastapi_producer.app
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.post("/orders", json={"article": ""})).status_code == 422
        assert (await client.get("/orders/unheard-of")).status_code == 404


async def test_a_web_process_starts_without_a_broker_and_says_so(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUID_BROKER_URL", f"redis://127.0.0.1:{free_port}")
    monkeypatch.setenv("FLUID_QUEUE_TIMEOUT", "0.2")
    app = fastapi_producer.app
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.post("/orders", json={"article": "lamp"})).status_code == 503


def client_of(app: FastAPI) -> AsyncClient:
    """A client that talks to the application without a network."""
    return AsyncClient(transport=ASGITransport(app=app), base_url="http://app")

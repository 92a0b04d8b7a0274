"""`fluid doctor` as a command: what it shows, what it leaves with, and what plugins may bring."""

from __future__ import annotations

from pathlib import Path

from fluid.cli.hops import ROAD
from fluid.scheduler import TaskConsumer
from tests.fluid.cli import shop
from tests.fluid.cli.calling import PROGRAM, SHOP, call, install
from tests.support.queues import OwnQueue

CORE = [hop for hop in ROAD if hop not in ("scrape", "exporter")]
"""The hops that are walked without any plugin."""


async def test_it_answers_0_with_a_table_and_what_should_be_known(queue: OwnQueue, tmp_path: Path) -> None:
    consumer = TaskConsumer(broker_url=queue.url)
    consumer.register_task(shop.add)
    async with consumer:
        await consumer.queue_and_wait("add", timeout=20, a=1, b=2)
        # whichever port it is, a plugin need not look for it
        site = install(tmp_path) | {"FLUID_TELEMETRY_PORT": "0"}
        told = await call("doctor", f"{shop.__name__}:make", env=site)
    assert told.code == 0
    table = dict(line.split()[:2] for line in told.lines[1 : told.lines.index("")])
    assert [hop for hop in table if hop in CORE] == CORE
    assert [hop for hop in CORE if table[hop] != "fine"] == ["persistence"]
    assert "to do        set appendonly yes, or FLUID_BROKER_DURABLE=false where that is meant" in told.lines
    assert told.lines[-1] == "no hop is broken"


async def test_that_nothing_is_kept_is_fine_where_it_is_meant(queue: OwnQueue, tmp_path: Path) -> None:
    env = install(tmp_path) | {"FLUID_BROKER_DURABLE": "false"}
    told = await call("doctor", "--broker-url", queue.url, "--json", env=env)
    (persistence,) = (found for found in told.json["findings"] if found["hop"] == "persistence")
    assert (persistence["mark"], persistence["told"]) == ("fine", "nothing outlives the server")


async def test_it_answers_1_and_names_what_is_broken_in_json_too(queue: OwnQueue, tmp_path: Path) -> None:
    site = install(tmp_path)
    told = await call("doctor", SHOP, env=site)
    assert (told.code, told.err) == (1, "")
    assert told.lines[-1] == "broken: consumer"
    assert "to do     start one: fluid run MODULE:CONSUMER" in told.lines
    answer = await call("doctor", "--broker-url", queue.url, "--json", env=site | {"FLUID_BROKER_URL": ""})
    assert answer.code == 1
    assert (answer.json["ok"], answer.json["broken"]) == (False, ["consumer"])
    assert [hop for found in answer.json["findings"] if (hop := found["hop"]) in CORE] == CORE
    assert set(answer.json["findings"][0]) == {"hop", "mark", "told", "advice"}


async def test_a_broker_that_is_not_there_is_a_finding_and_no_secret_is_told(
    free_port: int, tmp_path: Path
) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port}"
    told = await call("doctor", "--broker-url", url, "--json", env=install(tmp_path))
    assert (told.code, told.json["broken"]) == (1, ["broker"])
    assert "secret" not in told.out


async def test_a_program_of_its_own_examines_itself(queue: OwnQueue, tmp_path: Path) -> None:
    told = await call("doctor", "--json", env=install(tmp_path), program=PROGRAM)
    assert told.json["broken"] == ["consumer"]


async def test_a_plugin_adds_what_it_finds_and_one_without_hops_is_let_be(
    queue: OwnQueue, tmp_path: Path
) -> None:
    module = "tests.fluid.cli.signs"
    site = install(tmp_path, plugins={"signs": f"{module}:Signs", "weather": f"{module}:Weather"})
    told = await call("doctor", "--json", env=site)
    assert told.json["broken"] == ["consumer", "sky"]
    assert told.json["findings"][-1] == {
        "hop": "sky",
        "mark": "broken",
        "told": f"it rains on {queue.name}, where 0 consumers are",
        "advice": "take an umbrella",
    }


async def test_a_plugin_that_cannot_be_made_or_asked_is_a_finding(queue: OwnQueue, tmp_path: Path) -> None:
    plugins = {"bad": "tests.fluid.cli.signs:badly_set", "worse": "tests.fluid.cli.signs:Clumsy"}
    told = await call("doctor", "--json", env=install(tmp_path / "one", plugins=plugins))
    assert told.json["broken"] == ["consumer", "bad", "worse"]
    assert [found["told"] for found in told.json["findings"][-2:]] == [
        "the signs are upside down",
        "ValueError('stumbled')",
    ]
    plugins = {"gone": "no_such_module:Plugin"}
    told = await call("doctor", "--json", env=install(tmp_path / "two", plugins=plugins))
    assert told.json["broken"] == ["consumer", "plugins"]
    assert "'gone' (no_such_module:Plugin) does not load" in told.json["findings"][-1]["told"]

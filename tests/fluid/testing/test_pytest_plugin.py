"""The fixtures, in a suite of a user's own, under each plugin that runs async tests."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from tests.support.processes import ROOT

pytest_plugins = ["pytester"]

LONGEST = 150.0
pytestmark = pytest.mark.timeout(180)  # a whole pytest starts, loads its plugins and ends

SHOP = """
from fluid.scheduler import TaskRun, task

@task
async def ship(ctx: TaskRun) -> str:
    return f"order {ctx.params['order']} is on its way"

@task
async def order(ctx: TaskRun) -> None:
    await ctx.queue(ship, order=ctx.params["number"])
"""
SUITE = """
import redis, pytest
import shop
from urllib.parse import urlsplit
from fluid.testing import fainting, run_until_idle

{mark}

async def test_order_is_shipped(fluid_consumer, fluid_recorder):
    consumer = fluid_consumer(shop)
    await consumer.queue(shop.order, number=7)
    ended = await run_until_idle(consumer)
    assert sorted(run.name for run in ended) == ["order", "ship"]
    assert fluid_recorder.of("success", task=shop.ship)

async def test_every_test_has_a_queue_of_its_own(fluid_manager, fluid_consumer):
    async with fluid_manager(shop.ship) as web, fluid_consumer(shop.ship) as consumer:
        assert web.broker.queue == consumer.broker.queue
        assert (await web.broker.snapshot()).books.accepted == 0
        run = await web.queue_and_wait("ship", timeout=30, order=1)
        assert await run.result() == "order 1 is on its way"

async def test_a_broker_that_is_away_is_told(fluid_manager, fluid_recorder):
    async with fluid_manager(shop, queue_timeout=0.1) as web:
        async with fainting(web):
            with pytest.raises(ConnectionError):
                await web.queue(shop.ship, order=1)
    assert fluid_recorder.of("refused")[0].reason == "unavailable"

async def test_of_the_queues_before_nothing_is_left(fluid_broker_url):
    with redis.Redis(unix_socket_path=urlsplit(fluid_broker_url).path) as client:
        assert client.keys("*") == []

async def test_the_plugin_is_registered_once(pytestconfig):
    plugins = [plugin for _, plugin in pytestconfig.pluginmanager.list_name_plugin()]
    assert [getattr(one, "__name__", "") for one in plugins].count("fluid.pytest_plugin") == 1
"""
RUNNERS = {
    "auto": ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
    "strict": ("-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"),
    "anyio": ("-p", "no:asyncio"),
}
MARKS = {
    "auto": "",
    "strict": "pytestmark = pytest.mark.asyncio",
    "anyio": "pytestmark = pytest.mark.anyio\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'",
}


@pytest.fixture
def user(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A user's project, in which this checkout is installed; warnings are errors there."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{pytester.path}")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    points = declared["project"]["entry-points"]["pytest11"]
    installed = pytester.mkdir("checkout-1.0.dist-info")
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: checkout\nVersion: 1.0\n")
    lines = ["[pytest11]", *(f"{name} = {module}" for name, module in points.items())]
    (installed / "entry_points.txt").write_text("\n".join(lines))
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nfilterwarnings = ['error']\n")
    pytester.makepyfile(shop=SHOP)
    return pytester


def run(user: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    words = [sys.executable, "-m", "pytest", "-p", "no:randomly", *arguments]
    return user.run(*words, timeout=LONGEST)


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_user_s_tests_run_under_every_runner(user: pytest.Pytester, runner: str) -> None:
    user.makepyfile(test_shop=SUITE.format(mark=MARKS[runner]))
    run(user, *RUNNERS[runner]).assert_outcomes(passed=5)


def test_naming_the_plugin_again_does_no_harm(user: pytest.Pytester) -> None:
    user.makeconftest("pytest_plugins = ['fluid.pytest_plugin']")
    user.makepyfile("def test_it(fluid_recorder):\n    assert fluid_recorder.events == []\n")
    run(user, "-p", "no:asyncio", "-p", "fluid.pytest_plugin").assert_outcomes(passed=1)


def test_another_server_is_used_by_overriding_one_fixture(user: pytest.Pytester) -> None:
    user.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def fluid_server_url():
            return "redis://127.0.0.1:1/3"
        """
    )
    user.makepyfile(
        """
        def test_it(fluid_manager):
            assert fluid_manager().broker.url.startswith("redis://127.0.0.1:1/3?name=test-")
        """
    )
    outcome = run(user, "-p", "no:asyncio")
    outcome.assert_outcomes(passed=1, errors=1)
    outcome.stdout.fnmatch_lines(["*BrokerUnavailableError*the queue of the test could not be removed*"])


def test_a_suite_that_uses_no_fixture_loads_nothing_for_it() -> None:
    program = "import fluid.pytest_plugin, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "fluid.pytest_plugin" in loaded
    assert not {"fluid.scheduler", "fluid.testing", "pydantic", "redis", "msgspec", "asyncio"} & set(loaded)

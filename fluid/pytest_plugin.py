"""The fixtures for users' tests, which pytest finds through its entry-point group.

Every fixture is a sync one, so it does not matter which plugin runs the async tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest


def _providing() -> Any:
    """Imported when the first fixture is asked for: a suite that uses none pays nothing."""
    return import_module("fluid.testing.providing")


@pytest.fixture(scope="session")
def fluid_server_url() -> Iterator[str]:
    """A server of the session's own, as a broker URL without a queue; override it to use another one."""
    with _providing().private_server() as url:
        yield url


@pytest.fixture
def fluid_broker_url(fluid_server_url: str) -> Iterator[str]:
    """The URL of a fresh queue, which is removed after the test."""
    with _providing().fresh_queue(fluid_server_url) as url:
        yield url


@pytest.fixture
def fluid_recorder() -> Any:
    """A `Recorder` that hears every manager and consumer made by these fixtures."""
    return _providing().Recorder()


@pytest.fixture
def fluid_manager(fluid_broker_url: str, fluid_recorder: Any) -> Any:
    """Makes a `TaskManager` on the fresh queue: `fluid_manager(task, module, ..., **settings)`."""
    return _providing().manager_maker(fluid_broker_url, fluid_recorder)


@pytest.fixture
def fluid_consumer(fluid_broker_url: str, fluid_recorder: Any) -> Any:
    """Makes a `TaskConsumer` on the fresh queue: `fluid_consumer(task, module, ..., **settings)`."""
    return _providing().consumer_maker(fluid_broker_url, fluid_recorder)

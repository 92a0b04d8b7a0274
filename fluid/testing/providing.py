"""What fixtures hand out: a server for a session, a queue for a test, and what works on that queue."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, TypeVar

from redis.exceptions import RedisError

from fluid.errors import BrokerUnavailableError
from fluid.scheduler import Task, TaskConsumer, TaskManager
from fluid.scheduler.brokers.address import Address
from fluid.scheduler.brokers.embedded import start_or_join
from fluid.scheduler.brokers.keys import Keys
from fluid.testing.recorder import Recorder

M = TypeVar("M", bound=TaskManager)

DEFAULTS: dict[str, Any] = {"stopping_grace_period": 1.0}
"""A test does not wait as long as a deployment for bodies that do not end."""

ANSWER_SECONDS = 10.0
AT_ONCE = 1000


@contextmanager
def private_server() -> Iterator[str]:
    """An embedded server of its own, apart from the project's; its URL. Raises `NoEmbeddedServerError`."""
    with TemporaryDirectory(prefix="fluid-") as directory:
        # without a named place it keeps nothing on disk; its runtime directory goes with the rest
        server = start_or_join(
            project_dir=Path(directory), environ=os.environ | {"XDG_RUNTIME_DIR": directory}
        )
        try:
            yield server.url
        finally:
            server.close()


@contextmanager
def fresh_queue(server_url: str) -> Iterator[str]:
    """A queue of its own on a server; its URL. Its keys are removed in the end."""
    separator = "&" if "?" in server_url else "?"
    url = f"{server_url}{separator}name=test-{uuid.uuid4().hex[:12]}"
    address = Address.parse(url)
    try:
        yield url
    finally:
        _remove(address)


def manager_maker(url: str, recorder: Recorder) -> Callable[..., TaskManager]:
    """Makes managers on a queue, which the recorder hears."""
    return _maker(TaskManager, url, recorder)


def consumer_maker(url: str, recorder: Recorder) -> Callable[..., TaskConsumer]:
    """Makes consumers on a queue, which the recorder hears."""
    return _maker(TaskConsumer, url, recorder)


def _maker(kind: type[M], url: str, recorder: Recorder) -> Callable[..., M]:

    def make(*known: Task | ModuleType, **settings: Any) -> M:
        """One that knows these tasks, and those in these modules; `settings` are a manager's."""
        made = kind(**DEFAULTS | {"broker_url": url} | settings)
        for one in known:
            if isinstance(one, ModuleType):
                made.register_from_module(one)
            else:
                made.register_task(one)
        recorder.listen_to(made)
        return made

    return make


def _remove(address: Address) -> None:
    connection: Any = address.resolve(start=False).sync_connection(socket_timeout=ANSWER_SECONDS)

    def call(*words: str | int | bytes) -> Any:
        connection.send_command(*words)
        return connection.read_response()

    try:
        connection.connect()
        cursor, keys = 0, []
        while True:
            pattern = f"{Keys(address.queue).prefix}*"
            cursor, found = call("SCAN", cursor, "MATCH", pattern, "COUNT", AT_ONCE)
            keys += found
            if not int(cursor):
                break
        for start in range(0, len(keys), AT_ONCE):
            call("UNLINK", *keys[start : start + AT_ONCE])
    except (RedisError, OSError) as error:
        raise BrokerUnavailableError(f"the queue of the test could not be removed: {error}") from error
    finally:
        connection.disconnect()

"""What examples run on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def private() -> Iterator[Mapping[str, str]]:
    """The environment of a process for which nothing is set up, but for a side server on any port."""
    # Not below pytest's own directory: the path of a unix socket is short.
    with TemporaryDirectory(prefix="fluid-") as directory:
        yield {"XDG_RUNTIME_DIR": directory, "FLUID_BROKER_URL": "embedded://", "FLUID_TELEMETRY_PORT": "0"}

"""What every test has at hand."""

from __future__ import annotations

pytest_plugins = ["fluid.pytest_plugin", "tests.support.fixtures"]

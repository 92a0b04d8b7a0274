"""What every test has at hand."""

from __future__ import annotations

import signal

pytest_plugins = ["fluid.pytest_plugin", "tests.support.fixtures"]

# Tests in the background of a script ignore SIGINT, and so would every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

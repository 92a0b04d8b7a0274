"""What users' tests need: a clock to turn, events to wait on, a broker that faints, a queue run until idle.

The fixtures that go with it are in `fluid.pytest_plugin`.
"""

from __future__ import annotations

from fluid.testing.clock import ManualClock
from fluid.testing.draining import make_due, run_until_idle
from fluid.testing.fainting import fainting, losing_answers
from fluid.testing.recorder import Recorder

__all__ = ["ManualClock", "Recorder", "fainting", "losing_answers", "make_due", "run_until_idle"]

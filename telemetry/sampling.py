"""Whether a trace will not be sampled, told without asking the SDK to begin one."""

from __future__ import annotations

import re
from typing import Any

from telemetry.trace_context import LOWER_HALF

_ROOT = re.compile(
    r"(?:ParentBased\{root:)?(?:(?P<off>AlwaysOff)|AlwaysOn|TraceIdRatioBased\{(?P<rate>[^}]+)\})"
)
_OWN = re.compile(r"opentelemetry\.sdk\.trace\.sampling$")


class Sampling:
    """What can be foretold of a sampler: everything of the SDK's own, nothing of any other."""

    def __init__(self, sampler: Any) -> None:
        """`sampler`: that of the tracer provider; None when it has none."""
        self.follows = True
        """What a trace follows decides, whatever its id."""
        self.bound = LOWER_HALF + 1
        """A trace that follows nothing is sampled when the lower half of its id is below this one."""
        if sampler is None or not _OWN.match(type(sampler).__module__):
            return
        description = sampler.get_description()
        self.follows = description.startswith("ParentBased")
        if found := _ROOT.match(description):
            rate = 0.0 if found["off"] else float(found["rate"] or 1)
            self.bound = round(rate * (LOWER_HALF + 1))

    def drops(self, trace_id: int, parent: bool | None) -> bool:
        """Whether a trace of this id will not be sampled; `parent` is the flag of what it follows."""
        if parent is not None and self.follows:
            return not parent
        return trace_id & LOWER_HALF >= self.bound

"""What a command says when it was called wrongly, which is not the fault of a run or a broker."""

from __future__ import annotations

from fluid.errors import FluidError


class CallError(FluidError):
    """The command was called in a way that cannot work; it answers 2."""

    reason = "call"

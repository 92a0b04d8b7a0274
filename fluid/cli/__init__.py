"""The `fluid` command, and the same for the manager of a program of its own.

Answers 0 when all went well, 1 when something did not (a line on stderr says what), 2 when it was
called wrongly; `fluid run` answers what its consumer bailed out with.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from fluid.cli.app import command_line
from fluid.cli.faults import CallError
from fluid.errors import FluidError

__all__ = ["main", "run_for"]


def main(args: Sequence[str] | None = None) -> None:
    """The `fluid` command."""
    sys.exit(_answer(command_line(), args, "fluid"))


def run_for(manager: Any, *, args: Sequence[str] | None = None, standalone: bool = True) -> int:
    """The `fluid` command for one manager: its commands need no `module:consumer`.

    `args`: those of the process when None.
    `standalone`: leave the process with the exit code; without that it is returned.
    """
    code = _answer(command_line(manager), args, None)
    if standalone:
        sys.exit(code)
    return code


def _answer(command: Any, args: Sequence[str] | None, name: str | None) -> int:
    try:
        command.main(args=args, prog_name=name)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except FluidError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2 if isinstance(error, CallError) else 1
    return 0

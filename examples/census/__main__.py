"""`python -m examples.census` runs the census of the standard library.

`python -m examples.census DIRECTORY... --port 0` runs that of other directories, with the options of
`fluid run`; and `python -m examples.census status` is `fluid status`, and so on.
"""

from __future__ import annotations

import sys
from itertools import takewhile
from pathlib import Path

from examples.census.service import build


def main(arguments: list[str]) -> None:
    """Directories to measure, then what the `fluid` command takes; without a command of it, `run`."""
    roots = list(takewhile(lambda argument: Path(argument).is_dir(), arguments))
    asked = arguments[len(roots) :]
    command = [] if asked and not asked[0].startswith("-") else ["run"]
    build([Path(root).resolve() for root in roots]).cli(args=[*command, *asked])


if __name__ == "__main__":
    main(sys.argv[1:])

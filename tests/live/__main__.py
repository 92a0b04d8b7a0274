"""`python -m tests.live` plays the matrix with the durations that are shipped, and prints what came of it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fluid.clock import elapsed
from tests.live.matrix import play


def main() -> int:
    """0 when every fault was told as it should be, in time, and nothing else, and passed; else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.live", description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="shortens every duration; 1 takes some 45 minutes"
    )
    parser.add_argument("--report", type=Path, help="the page whose table is written anew, of a scale of 1")
    arguments = parser.parse_args()
    begin = elapsed()

    def say(line: str) -> None:
        print(f"{elapsed() - begin:6.1f} s  {line}", file=sys.stderr, flush=True)  # noqa: T201

    with TemporaryDirectory(prefix="fluid-live-") as directory:
        played = asyncio.run(play(Path(directory), scale=arguments.scale, say=say))
    print(played)  # noqa: T201
    if arguments.report and arguments.scale == 1:
        played.write_into(arguments.report)
    return 0 if played.well else 1


if __name__ == "__main__":
    sys.exit(main())

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
    """0 when every fault was told as it should be, in time, and nothing else; else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.live", description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="shortens every duration; 1 takes some 40 minutes"
    )
    scale = parser.parse_args().scale
    begin = elapsed()

    def say(line: str) -> None:
        print(f"{elapsed() - begin:6.1f} s  {line}", file=sys.stderr, flush=True)  # noqa: T201

    with TemporaryDirectory(prefix="fluid-live-") as directory:
        outcomes = asyncio.run(play(Path(directory), scale=scale, say=say))
    head = ("| fault | verdict | told, and how long after it | allowed |", "|---|---|---|---|")
    print("\n".join([*head, *map(str, outcomes)]))  # noqa: T201
    return 0 if all(outcome.right and outcome.in_time for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())

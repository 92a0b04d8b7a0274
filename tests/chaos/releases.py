"""Two releases of one application: `python -m tests.chaos.releases RELEASE URL LEDGER` is a consumer of one.

The second drops the task `fax`, adds `chat`, and gives `mail` a parameter that the first does not know.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from fluid.scheduler import Event, Task, TaskConsumer, TaskRun, task
from tests.support.ledger import Ledger

ONE, TWO = "one", "two"


class Letter(BaseModel):
    """What the first release knows of a letter."""

    model_config = ConfigDict(extra="forbid")

    text: str


class SignedLetter(Letter):
    """What the second one knows."""

    signed: str = "nobody"


def tasks_of(release: str, ledger: Ledger) -> dict[str, Task]:
    """The tasks of a release; a body writes down which release it belongs to."""

    async def work(ctx: TaskRun[Any]) -> None:
        ledger.write(ctx.id, ctx.name, release, ctx.attempt)
        await asyncio.sleep(0.01)

    async def mail_text(ctx: TaskRun[Letter]) -> str:
        await work(ctx)
        return ctx.params.text

    async def mail_signed(ctx: TaskRun[SignedLetter]) -> str:
        await work(ctx)
        return f"{ctx.params.text}, {ctx.params.signed}"

    known = {"order": task("order")(work)}
    if release == ONE:
        return known | {"fax": task("fax")(work), "mail": task("mail")(mail_text)}
    return known | {"chat": task("chat")(work), "mail": task("mail")(mail_signed)}


def _say(event: Event) -> None:
    print(event.name, event.run.id if event.run else "-", flush=True)  # noqa: T201


async def main(release: str, url: str, ledger: str) -> None:
    """Until SIGTERM."""
    consumer = TaskConsumer(broker_url=url, stopping_grace_period=30)
    consumer.register_from_dict(tasks_of(release, Ledger(Path(ledger))))
    consumer.dispatcher.register_handler("*.say", _say)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.gracefully_stop)
    await consumer.safe_run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

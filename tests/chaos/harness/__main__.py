"""One process of the fleet: `python -m tests.chaos.harness ORDERS`, the orders as JSON."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal
import sys
import time

import msgspec

from fluid.scheduler import Event, TaskConsumer, TaskScheduler
from tests.chaos.harness.orders import KEPT_SECONDS, Orders
from tests.chaos.harness.producer import Producer
from tests.chaos.harness.tasks import declare

TOLD = (
    "lost",
    "retry",
    "interrupted",
    "stale",
    "dead",
    "end",
    "schedule_fired",
    "schedule_missed",
    "broker_rewound",
)
"""Events that are written down."""

SLOTS = 16
GRACE_SECONDS = 1.0
DELIVERIES = 12
"""More than chance will lose any run: only a toxic one is to be dead."""


def consumer_of(orders: Orders) -> TaskConsumer:
    """A consumer, or a scheduler, that writes down what it announces."""
    kind = TaskScheduler if orders.role == "scheduler" else TaskConsumer
    consumer = kind(
        broker_url=orders.url,
        max_concurrent_tasks=SLOTS,
        lease_seconds=orders.lease,
        max_deliveries=DELIVERIES,
        stopping_grace_period=GRACE_SECONDS,
        result_ttl=KEPT_SECONDS,
    )
    consumer.register_from_dict(declare(orders.ledgers.bodies))
    ledger = orders.ledgers.events

    def write_down(event: Event) -> None:
        run = event.run
        if run is None:
            ledger.write("", str(event.facts.get("task", "")), event.name, int(event.facts.get("count", 1)))
        else:
            ledger.write(run.id, run.name, event.name, run.attempt)

    for name in TOLD:
        consumer.dispatcher.register_handler(f"{name}.ledger", write_down)
    return consumer


async def work(orders: Orders) -> int:
    """Work until SIGTERM; the exit code."""
    worker = Producer(orders) if orders.role == "producer" else consumer_of(orders)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.gracefully_stop)
    loop.add_signal_handler(signal.SIGUSR1, tell_stacks)
    await worker.run()
    return worker.exit_code if isinstance(worker, TaskConsumer) else 0


def tell_stacks() -> None:
    """Say where everything is that waits or runs, for a process that hangs."""
    faulthandler.dump_traceback(all_threads=True)
    for waiting in asyncio.all_tasks():
        waiting.print_stack(file=sys.stderr)


def skew(seconds: float) -> None:
    """Set this process' wall clock ahead, as far as it reads it by `time.time`."""
    real = time.time
    time.time = lambda: real() + seconds


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", level=logging.INFO)
    given = msgspec.json.decode(sys.argv[1], type=Orders)
    skew(given.skew)
    sys.exit(asyncio.run(work(given)))

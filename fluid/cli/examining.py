"""`fluid doctor`: walks the road of a run, and names the hop that is broken."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from fluid.cli.hops import ROAD, Queue, look_at_books, look_at_consumers, look_at_server
from fluid.cli.showing import show_facts, show_json, show_line, show_table
from fluid.cli.target import Named, find_queue
from fluid.errors import BrokerError, FluidError, PluginError
from fluid.plugins import Examiner, Finding, Mark, find_plugins
from fluid.scheduler import TaskManager

BROKER_SECONDS = 5.0
"""How long the broker may take for each answer."""


@dataclass(slots=True)
class Walk:
    """What was found so far."""

    findings: list[Finding] = field(default_factory=list)
    alive: tuple[str, ...] = ()
    """The names of the consumers alive, none when nobody can tell."""

    @property
    def in_order(self) -> list[Finding]:
        """In the order of the road, and what no road was known for at its end."""
        at = {hop: number for number, hop in enumerate(ROAD)}
        return sorted(self.findings, key=lambda found: at.get(found.hop, len(at)))

    @property
    def broken(self) -> list[str]:
        """The hops that are broken."""
        return list(dict.fromkeys(found.hop for found in self.in_order if found.mark is Mark.broken))


def doctor(target: Named | None, *, broker_url: str | None, as_json: bool) -> int:
    """Show what was found; 1 when a hop is broken."""

    walk = asyncio.run(examine(find_queue(target, broker_url=broker_url)))
    _show(walk, as_json=as_json)
    return int(bool(walk.broken))


async def examine(manager: TaskManager) -> Walk:
    """Walk the road of this manager's queue."""
    walk = Walk()
    async with manager:
        await _ask_broker(manager, walk)
        await _ask_plugins(manager, walk)
    return walk


async def _ask_broker(manager: TaskManager, walk: Walk) -> None:
    broker = manager.broker
    failures: list[str] = []
    broker.listeners.lost.append(failures.append)
    unseen = ["consumer", "books", "clock", "persistence"]
    try:
        async with asyncio.timeout(BROKER_SECONDS):
            report = await broker.inspect()
        durable = manager.config.broker_durable
        walk.findings += look_at_server(report, broker.url, durable=durable)
        unseen = ["consumer", "books"]
        async with asyncio.timeout(BROKER_SECONDS):
            queue = Queue(await broker.snapshot(), await broker.consumers(), manager.config.lease_seconds)
    except (BrokerError, TimeoutError) as error:
        # of a replica, which has no queue of its own, more is told already
        if "broker" not in walk.broken:
            told = f"{broker.url} does not answer: {_words(error, failures)}"
            advice = "start the server, or name the right one in FLUID_BROKER_URL or --broker-url"
            walk.findings = [found for found in walk.findings if found.hop != "broker"]
            walk.findings.append(Finding("broker", Mark.broken, told, advice))
        walk.findings += [Finding(hop, Mark.skipped, "the broker cannot be asked") for hop in unseen]
        return
    walk.alive = tuple(one.name for one in queue.alive)
    walk.findings += look_at_consumers(queue, manager.registry)
    walk.findings += look_at_books(queue.snapshot)


def _words(error: Exception, failures: Sequence[str]) -> str:
    """Why it does not answer: the last failure when patience was over before the next one."""
    if isinstance(error, TimeoutError) and not isinstance(error, FluidError):
        return failures[-1] if failures else f"no answer within {BROKER_SECONDS:g} s"
    return str(error)


async def _ask_plugins(manager: TaskManager, walk: Walk) -> None:
    try:
        for name, factory in find_plugins():
            try:
                plugin = factory()
                if isinstance(plugin, Examiner):
                    walk.findings += await plugin.checks(manager.broker.queue, walk.alive)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
                told = str(error) if isinstance(error, FluidError) else repr(error)
                walk.findings.append(Finding(name, Mark.broken, told, "mend the plugin, or its settings"))
    except PluginError as error:
        walk.findings.append(Finding("plugins", Mark.broken, str(error), "mend it, or uninstall it"))


def _show(walk: Walk, *, as_json: bool) -> None:
    found = walk.in_order
    if as_json:
        told = [asdict(one) for one in found]
        show_json({"ok": not walk.broken, "broken": walk.broken, "findings": told})
        return
    show_table(("hop", "", "found"), [(one.hop, str(one.mark), one.told) for one in found])
    for one in found:
        if one.advice:
            show_line()
            show_facts({one.hop: one.told, "to do": one.advice})
    show_line()
    show_line(f"broken: {', '.join(walk.broken)}" if walk.broken else "no hop is broken")

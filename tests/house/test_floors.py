"""A room imports only rooms on lower floors, so there are no loops, not even hidden ones."""

from __future__ import annotations

from collections import Counter

from tests.house.reading import Import, Room, assert_none, imports, rooms

FLOORS = (
    "fluid",
    "fluid.errors",
    "fluid.clock",
    "fluid.collector",
    "fluid.masking",
    "fluid.tracebacks",
    "fluid.settings",
    "fluid.breaker",
    "fluid.dispatcher",
    "fluid.workers.states",
    "fluid.workers.waiting",
    "fluid.workers.worker",
    "fluid.workers.function",
    "fluid.workers.queue",
    "fluid.workers.callbacks",
    "fluid.workers.supervisor",
    "fluid.workers.handler_worker",
    "fluid.workers.group",
    "fluid.workers.async_consumer",
    "fluid.workers",
    "fluid.plugins",
    "fluid.scheduler.states",
    "fluid.scheduler.retry",
    "fluid.scheduler.schedules",
    "fluid.scheduler.options",
    "fluid.scheduler.run",
    "fluid.scheduler.task",
    "fluid.scheduler.registry",
    "fluid.scheduler.events",
    "fluid.scheduler.codec",
    "fluid.scheduler.failing",
    "fluid.scheduler.dispatchers",
    "fluid.scheduler.announcing",
    "fluid.scheduler.being_queued",
    "fluid.scheduler.under_way",
    "fluid.scheduler.deadlines",
    "fluid.scheduler.batches",
    "fluid.scheduler.meanwhile",
    "fluid.scheduler.moves",
    "fluid.scheduler.snapshot",
    "fluid.scheduler.notes",
    "fluid.scheduler.broker",
    "fluid.scheduler.history",
    "fluid.scheduler.slots",
    "fluid.scheduler.brokers.keys",
    "fluid.scheduler.brokers.scripts",
    "fluid.scheduler.brokers.records",
    "fluid.scheduler.brokers.binaries",
    "fluid.scheduler.brokers.homes",
    "fluid.scheduler.brokers.embedded",
    "fluid.scheduler.brokers.places",
    "fluid.scheduler.brokers.address",
    "fluid.scheduler.brokers.channel",
    "fluid.scheduler.brokers.inspection",
    "fluid.scheduler.brokers.requirements",
    "fluid.scheduler.brokers.connecting",
    "fluid.scheduler.brokers.link",
    "fluid.scheduler.brokers.hindsight",
    "fluid.scheduler.brokers.calls",
    "fluid.scheduler.brokers.listener",
    "fluid.scheduler.brokers.renewer",
    "fluid.scheduler.brokers.outbox",
    "fluid.scheduler.brokers.fleet_stream",
    "fluid.scheduler.brokers.listing",
    "fluid.scheduler.brokers.notebook",
    "fluid.scheduler.brokers.claims",
    "fluid.scheduler.brokers.redis",
    "fluid.scheduler.brokers",
    "fluid.scheduler.producing",
    "fluid.scheduler.wire",
    "fluid.scheduler.leaving",
    "fluid.scheduler.body_process",
    "fluid.scheduler.interceptors",
    "fluid.scheduler.offload",
    "fluid.scheduler.invoking",
    "fluid.scheduler.execution",
    "fluid.scheduler.local",
    "fluid.scheduler.submitting",
    "fluid.scheduler.sync_queue",
    "fluid.scheduler.fleet",
    "fluid.scheduler.host",
    "fluid.scheduler.desk",
    "fluid.scheduler.deciding",
    "fluid.scheduler.manager",
    "fluid.scheduler.flows",
    "fluid.scheduler.settling",
    "fluid.scheduler.keeper",
    "fluid.scheduler.claiming",
    "fluid.scheduler.upkeep.agent",
    "fluid.scheduler.upkeep.rescuer",
    "fluid.scheduler.upkeep.janitor",
    "fluid.scheduler.upkeep.inspector",
    "fluid.scheduler.upkeep",
    "fluid.scheduler.consumer",
    "fluid.scheduler.scheduler",
    "fluid.scheduler",
    "fluid.testing.clock",
    "fluid.testing.waiting",
    "fluid.testing.recorder",
    "fluid.testing.fainting",
    "fluid.testing.draining",
    "fluid.testing",
    "fluid.testing.providing",
    "fluid.pytest_plugin",
    "fluid.cli.faults",
    "fluid.cli.arguments",
    "fluid.cli.signals",
    "fluid.cli.showing",
    "fluid.cli.telling",
    "fluid.cli.target",
    "fluid.cli.running",
    "fluid.cli.queueing",
    "fluid.cli.asking",
    "fluid.cli.deciding",
    "fluid.cli.following",
    "fluid.cli.hops",
    "fluid.cli.examining",
    "fluid.cli.commands",
    "fluid.cli.run_commands",
    "fluid.cli.app",
    "fluid.cli",
    "fluid.cli.__main__",
    "telemetry.metric",
    "telemetry.rules",
    "telemetry.names",
    "telemetry.page",
    "telemetry.settings",
    "telemetry.series",
    "telemetry.trace_context",
    "telemetry.current",
    "telemetry.pipe",
    "telemetry.rendering",
    "telemetry.sampling",
    "telemetry.conventions",
    "telemetry.trouble",
    "telemetry.resting",
    "telemetry.otlp.wire",
    "telemetry.otlp.attributes",
    "telemetry.otlp.envelope",
    "telemetry.otlp.spans",
    "telemetry.otlp.records",
    "telemetry.otlp.destination",
    "telemetry.otlp.proxies",
    "telemetry.otlp.answers",
    "telemetry.otlp.exporter",
    "telemetry.otlp",
    "telemetry.sending",
    "telemetry.providers",
    "telemetry.otlp_logs",
    "telemetry.logs",
    "telemetry.narrator",
    "telemetry.offloaded",
    "telemetry.spans",
    "telemetry.traces",
    "telemetry.metrics",
    "telemetry.slo",
    "telemetry.slo_board",
    "telemetry.slo_runbook",
    "telemetry.budgets",
    "telemetry.gauges",
    "telemetry.exposition",
    "telemetry.status",
    "telemetry.loop",
    "telemetry.watchdog",
    "telemetry.canary",
    "telemetry.health",
    "telemetry.server",
    "telemetry.alerts.conditions",
    "telemetry.alerts.notices",
    "telemetry.alerts.incidents",
    "telemetry.alerts.channels.channel",
    "telemetry.alerts.channels.http",
    "telemetry.alerts.channels.webhook",
    "telemetry.alerts.channels.alertmanager",
    "telemetry.alerts.channels.apprise",
    "telemetry.alerts.channels",
    "telemetry.alerts.config",
    "telemetry.alerts",
    "telemetry.alerts.outbox",
    "telemetry.alerts.grouping",
    "telemetry.alerts.notifier",
    "telemetry.alerts.command",
    "telemetry.telemetry",
    "telemetry.checks",
    "telemetry.plugin",
    "telemetry.shipping",
    "telemetry.commands",
    "telemetry",
    "dashboards.uids",
    "dashboards.rules.thresholds",
    "dashboards.rules.symptom",
    "dashboards.rules.recording",
    "dashboards.rules.of_runs",
    "dashboards.rules.of_processes",
    "dashboards.rules",
    "dashboards.boards.look",
    "dashboards.boards.promql",
    "dashboards.boards.links",
    "dashboards.boards.panel",
    "dashboards.boards.variables",
    "dashboards.boards.board",
    "dashboards.boards.measures",
    "dashboards.boards.at_a_glance",
    "dashboards.boards.overview",
    "dashboards.boards.one_task",
    "dashboards.boards.consumers",
    "dashboards.boards.server",
    "dashboards.boards.queues",
    "dashboards.boards.schedules",
    "dashboards.boards.watchers",
    "dashboards.boards.expressions",
    "dashboards.boards.linter",
    "dashboards.boards",
    "dashboards.__main__",
    "dashboards",
)
"""Every room of the house, the lowest first; a package's door sits just above its rooms."""

FLOOR = {name: floor for floor, name in enumerate(FLOORS)}
HOUSE = rooms("fluid", "telemetry", "dashboards")
BY_NAME = {room.name: room for room in HOUSE}


def target(taken: Import) -> str | None:
    """The room of ours that an import leads to: `from a import b` means the room `a.b` where there is one."""
    inner = f"{taken.module}.{taken.name}"
    if inner in BY_NAME and taken.name not in doorway(taken.module):
        return inner
    return taken.module if taken.module.split(".")[0] in {"fluid", "telemetry", "dashboards"} else None


def doorway(module: str) -> frozenset[str]:
    """The names a package takes out of its rooms: `fluid.scheduler.task` the decorator hides the room."""
    door = BY_NAME.get(module)
    return frozenset(taken.name for taken in imports(door.tree)) if door and door.is_door else frozenset()


def below(room: Room) -> set[str]:
    """The rooms of ours that a room imports."""
    return {reached for taken in imports(room.tree) if (reached := target(taken)) is not None}


def climbs(room: Room) -> list[str]:
    """The imports of a room that do not lead to a lower floor."""
    faults = []
    for taken in imports(room.tree):
        reached = target(taken)
        if reached is not None and FLOOR.get(reached, -1) >= FLOOR.get(room.name, len(FLOORS)):
            faults.append(f"{room.at(taken.line)}: {room.name} imports {reached}, which is not below it")
    return faults


def place(room: Room) -> str:
    """Where in the plan a room without a floor belongs."""
    imported = [name for name in FLOORS if name in below(room)]
    importers = [name for name in FLOORS if name in BY_NAME and room.name in below(BY_NAME[name])]
    return f"{room.name}: above {['nothing', *imported][-1]}, below {[*importers, 'nothing'][0]}"


def test_every_room_has_a_floor() -> None:
    assert_none(
        [place(room) for room in HOUSE if room.name not in FLOOR],
        "Rooms without a floor. Add a line for each to FLOORS in tests/house/test_floors.py (lowest first).",
    )


def test_the_floor_plan_names_each_standing_room_once() -> None:
    twice = [f"{name}: twice" for name, times in Counter(FLOORS).items() if times > 1]
    gone = [f"{name}: no such room" for name in FLOORS if name not in BY_NAME]
    assert_none(
        twice + gone, "Lines to take out of FLOORS in tests/house/test_floors.py, or rooms yet to build."
    )


def test_a_room_imports_only_lower_floors() -> None:
    assert_none(
        [fault for room in HOUSE for fault in climbs(room)],
        "Imports that climb. Move the shared idea down, hand the object in, or change the order of FLOORS. "
        "An import inside a function or under TYPE_CHECKING counts.",
    )

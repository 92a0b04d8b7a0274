"""For every alert, what is scraped before, while and after it fires. A value is that of a minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.dashboards.promtool import Values, counted

LENGTH = 240
"""Minutes that a story lasts at most."""

HEALTHY: Mapping[str, Values] = {
    f"{name}{{{more}job='workers',instance='{instance}'}}": f"{value}x{LENGTH}"
    for instance in ("a", "b")
    for name, more, value in (
        ("up", "", 1),
        ("fluid_build_info", "queue='orders',version='1.0',", 1),
        ("fluid_broker_up", "queue='orders',", 1),
        ("fluid_slots", "queue='orders',", 32),
        ("fluid_slots_busy", "queue='orders',", 1),
    )
}
"""Two consumers that are well; a story tells what is different."""


def at(name: str, instance: str = "a", queue: str = "orders", job: str = "workers", **labels: str) -> str:
    """A series of an instance."""
    told = {"queue": queue} | labels | {"job": job, "instance": instance}
    return f"{name}{{{','.join(f'{label}={value!r}' for label, value in told.items())}}}"


def up(instance: str, job: str = "workers") -> str:
    """Whether Prometheus could scrape an instance."""
    return f"up{{job={job!r},instance={instance!r}}}"


def of_the_neighbour(name: str, value: float, more: float = 0, **labels: str) -> tuple[str, str]:
    """A series that begins with a value and has so much more each minute."""
    return at(name, "n", job="staging", **labels), f"{value}+{more}x{LENGTH}"


NEIGHBOUR: Mapping[str, Values] = dict(
    (
        (up("n", job="staging"), f"1x{LENGTH}"),
        of_the_neighbour("fluid_build_info", 1, version="1.0"),
        of_the_neighbour("fluid_broker_up", 1),
        of_the_neighbour("fluid_slots", 64),
        of_the_neighbour("fluid_slots_busy", 1),
        of_the_neighbour("fluid_queue_runs", 0, priority="low", status="ready"),
        of_the_neighbour("fluid_books_runs_total", 0, 6000, outcome="success"),
        of_the_neighbour("fluid_runs_started_total", 0, 6000, task="charge"),
        of_the_neighbour("fluid_runs_ended_total", 0, 6000, task="charge", state="success"),
        of_the_neighbour("fluid_schedule_next_fire_timestamp_seconds", 600, 60, task="sweep"),
        of_the_neighbour("fluid_canary_interval_seconds", 60),
        of_the_neighbour("fluid_canary_last_success_timestamp_seconds", 1, 60),
    )
)
"""Another deployment, whose queue and tasks have the same names, and which is well: it hides nothing."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """An alert, from all is well over trouble to all is well."""

    alert: str
    rule: str
    """What the story shows, beside the usual."""
    series: Mapping[str, Values]
    quiet: tuple[str, ...]
    """When it does not fire, although it could be thought to."""
    fires: str
    labels: Mapping[str, str] = field(default_factory=lambda: {"queue": "orders"})
    """Beside its job."""
    says: str
    resolved: str


OF_CHARGE = {"queue": "orders", "task": "charge"}

RUNS = (
    Story(
        alert="FluidOldestRunTooOld",
        rule="each priority has its own limit, and every consumer tells the same",
        series={
            at("fluid_queue_oldest_ready_seconds", "a", priority="high"): [50] * 20 + [90] * 10 + [0] * 20,
            at("fluid_queue_oldest_ready_seconds", "b", priority="high"): [50] * 20 + [90] * 10 + [0] * 20,
            at("fluid_queue_oldest_ready_seconds", "a", priority="medium"): [290] * 50,
            at("fluid_queue_oldest_ready_seconds", "a", priority="low"): [3500] * 50,
        },
        quiet=("19m", "21m"),
        fires="23m",
        labels={"queue": "orders", "priority": "high"},
        says="The oldest ready high run of queue orders has been ready for 1m 30s.",
        resolved="30m",
    ),
    Story(
        alert="FluidWillNotDrainInTime",
        rule="the pace is that of runs that end",
        series={
            at("fluid_queue_runs", priority="low", status="ready"): [600] * 60 + [1200] * 30 + [0] * 30,
            at("fluid_books_runs_total", "a", outcome="success"): f"0+60x{LENGTH}",
            at("fluid_books_runs_total", "b", outcome="success"): f"0+60x{LENGTH}",
            at("fluid_books_runs_total", "a", outcome="accepted"): f"0+600x{LENGTH}",
            at("fluid_runs_started_total", task="charge"): f"0+60x{LENGTH}",
        },
        quiet=("59m", "74m"),
        fires="76m",
        says="At its pace of now, queue orders needs 20m 0s for the runs that are ready; "
        "it should need less than 15m.",
        resolved="91m",
    ),
    Story(
        alert="FluidWillNotDrainInTime",
        rule="without any pace it never drains",
        series={
            at("fluid_queue_runs", priority="low", status="ready"): [0] * 30 + [1] * 30 + [0] * 30,
            at("fluid_books_runs_total", outcome="success"): f"7x{LENGTH}",
            at("fluid_slots_busy", "a"): [32] * LENGTH,
            at("fluid_slots_busy", "b"): [28] * LENGTH,
            at("fluid_runs_started_total", task="charge"): f"0+60x{LENGTH}",
        },
        quiet=("29m", "44m"),
        fires="46m",
        says="At its pace of now, queue orders needs +Inf for the runs that are ready; "
        "it should need less than 15m.",
        resolved="61m",
    ),
    Story(
        alert="FluidFailureRatioHigh",
        rule="a few failures among many runs are no trouble",
        series={
            at("fluid_runs_ended_total", "a", task="charge", state="success"): counted((60, 98), (120, 80)),
            at("fluid_runs_ended_total", "a", task="charge", state="failure"): counted(
                (60, 2), (30, 20), (90, 2)
            ),
            at("fluid_runs_ended_total", "b", task="rare", state="success"): counted((60, 0.1), (120, 0.1)),
            at("fluid_runs_ended_total", "b", task="rare", state="failure"): counted((60, 0.1), (120, 0.1)),
        },
        quiet=("59m", "64m"),
        fires="75m",
        labels=OF_CHARGE,
        says="20% of the runs of charge that end in queue orders fail.",
        resolved="97m",
    ),
    Story(
        alert="FluidNothingSucceeds",
        rule="a single success is enough",
        series={
            at("fluid_runs_ended_total", "a", task="charge", state="success"): counted(
                (60, 1), (60, 0), (60, 1)
            ),
            at("fluid_runs_ended_total", "b", task="charge", state="failure"): counted((60, 0), (120, 0.2)),
        },
        quiet=("59m", "85m"),
        fires="95m",
        labels=OF_CHARGE,
        says="In 30m, 6 runs of charge in queue orders have failed and none has succeeded.",
        resolved="122m",
    ),
    Story(
        alert="FluidDeadRunsGrow",
        rule="those that are dead already are no news",
        series={
            at("fluid_runs_dead_total", task="charge", reason="lost_too_often"): [4] * 30 + [6] * 60,
            at("fluid_queue_runs", priority="low", status="dead"): [4] * 30 + [6] * 60,
        },
        quiet=("29m",),
        fires="31m",
        labels={**OF_CHARGE, "reason": "lost_too_often"},
        says="Runs of charge in queue orders are found dead (lost_too_often): 2 in 15m.",
        resolved="46m",
    ),
    *(
        Story(
            alert=alert,
            rule="what a consumer counts as it starts is new",
            series={
                at(name, "c", task="charge", **labels): ["_"] * 30 + [2] * (LENGTH - 30),
                at("process_start_time_seconds", "c"): ["_"] * 30 + [1790] * (LENGTH - 30),
                at("fluid_queue_runs", priority="low", status="held"): [0] * 30 + [2] * 20 + [0] * 30,
            },
            quiet=("29m",),
            fires="42m",
            labels=of,
            says=says,
            resolved="51m",
        )
        for alert, name, labels, of, says in (
            (
                "FluidDeadRunsGrow",
                "fluid_runs_dead_total",
                {"reason": "invalid_params"},
                {**OF_CHARGE, "reason": "invalid_params"},
                "Runs of charge in queue orders are found dead (invalid_params): 2 in 15m.",
            ),
            (
                "FluidHeldRunsUnknown",
                "fluid_runs_held_total",
                {"reason": "unknown_task"},
                {"queue": "orders", "reason": "unknown_task"},
                "In queue orders runs are held that no consumer can take (unknown_task): 2 came in 6h.",
            ),
            (
                "FluidRunsLost",
                "fluid_runs_lost_total",
                {},
                OF_CHARGE,
                "Leases of charge in queue orders ran out: 2 in 15m. The runs are delivered again.",
            ),
        )
    ),
    Story(
        alert="FluidHeldRunsUnknown",
        rule="runs over a limit are held by intent, and a deploy may be under way",
        series={
            at("fluid_runs_held_total", task="charge", reason="limit"): f"0+5x{LENGTH}",
            at("fluid_runs_held_total", task="other", reason="unknown_task"): [0] * 30 + [3] * 90,
            at("fluid_queue_runs", priority="low", status="held"): [2] * 30 + [5] * 30 + [0] * 60,
        },
        quiet=("29m", "39m"),
        fires="42m",
        labels={"queue": "orders", "reason": "unknown_task"},
        says="In queue orders runs are held that no consumer can take (unknown_task): 3 came in 6h.",
        resolved="61m",
    ),
    Story(
        alert="FluidRunsLost",
        rule="whoever rescued them tells",
        series={
            at("fluid_runs_lost_total", "a", task="charge"): [0] * 30 + [1] * 60,
            at("fluid_runs_lost_total", "b", task="charge"): [0] * 30 + [2] * 60,
        },
        quiet=("29m",),
        fires="30m",
        labels=OF_CHARGE,
        says="Leases of charge in queue orders ran out: 3 in 15m. The runs are delivered again.",
        resolved="46m",
    ),
    Story(
        alert="FluidRunsUnaccounted",
        rule="too many are as bad as too few",
        series={
            at("fluid_books_unaccounted", "a"): [0] * 30 + [-2] * 10 + [0] * 30,
            at("fluid_books_unaccounted", "b"): [0] * 30 + [-2] * 10 + [0] * 30,
        },
        quiet=("29m", "30m"),
        fires="32m",
        says="2 runs of queue orders are neither ended nor open, or ended twice.",
        resolved="40m",
    ),
    Story(
        alert="FluidRetryStorm",
        rule="some retries are what they are for",
        series={
            at("fluid_runs_started_total", task="charge"): counted((180, 100)),
            at("fluid_runs_retried_total", task="charge", reason="error"): counted((60, 30), (90, 30)),
            at("fluid_runs_retried_total", "b", task="charge", reason="timeout"): counted(
                (60, 0), (30, 30), (60, 0)
            ),
        },
        quiet=("59m", "63m"),
        fires="75m",
        labels=OF_CHARGE,
        says="60% of the attempts of charge in queue orders fail and are tried again.",
        resolved="96m",
    ),
)

SCHEDULES = (
    Story(
        alert="FluidScheduleMissed",
        rule="every scheduler keeps its own account of the same ticks",
        series={
            at("fluid_schedule_missed_total", "a", task="sweep"): [0] * 30 + [2] * 60,
            at("fluid_schedule_missed_total", "b", task="sweep"): [0] * 30 + [3] * 60,
        },
        quiet=("29m",),
        fires="31m",
        labels={"queue": "orders", "task": "sweep"},
        says="The schedule of sweep in queue orders missed 3 ticks in 15m.",
        resolved="46m",
    ),
    Story(
        alert="FluidScheduleMissed",
        rule="what a scheduler tells as it starts is new, what a long-lived one tells when first seen is not",
        series={
            at("fluid_schedule_missed_total", "c", task="sweep"): ["_"] * 30 + [3] * 60,
            at("process_start_time_seconds", "c"): ["_"] * 30 + [1790] * 60,
            at("fluid_schedule_missed_total", "d", task="sweep"): ["_"] * 30 + [7] * 60,
            at("process_start_time_seconds", "d"): ["_"] * 30 + [10] * 60,
        },
        quiet=("29m",),
        fires="31m",
        labels={"queue": "orders", "task": "sweep"},
        says="The schedule of sweep in queue orders missed 3 ticks in 15m.",
        resolved="46m",
    ),
    Story(
        alert="FluidScheduleLate",
        rule="the scheduler that fires last knows best",
        series={
            at("fluid_schedule_next_fire_timestamp_seconds", "a", task="sweep"): (
                [(minute // 10 + 1) * 600 for minute in range(60)] + [3600] * 10 + [9000] * 50
            ),
            at("fluid_schedule_next_fire_timestamp_seconds", "b", task="sweep"): [600] * 120,
            at("fluid_schedule_next_fire_timestamp_seconds", "a", task="never"): [0] * 120,
        },
        quiet=("59m", "61m"),
        fires="65m",
        labels={"queue": "orders", "task": "sweep"},
        says="The tick of sweep in queue orders is 5m 0s overdue.",
        resolved="70m",
    ),
    Story(
        alert="FluidScheduleLate",
        rule="what a scheduler told last is remembered, but for a schedule that was taken off",
        series={
            at("fluid_schedule_next_fire_timestamp_seconds", "a", task="sweep"): (
                [3000] * 30 + ["stale"] + ["_"] * 39 + [9000] * 50
            ),
            at("fluid_schedule_next_fire_timestamp_seconds", queue="mail", task="gone"): (
                [3000] * 30 + ["stale"]
            ),
            at("fluid_schedule_next_fire_timestamp_seconds", queue="mail", task="kept"): [90000] * 120,
        },
        quiet=("29m", "50m"),
        fires="60m",
        labels={"queue": "orders", "task": "sweep"},
        says="The tick of sweep in queue orders is 10m 0s overdue.",
        resolved="70m",
    ),
)

CONSUMERS = (
    Story(
        alert="FluidConsumerAbsent",
        rule="one that is left is enough, and a manager is none",
        series={
            at("fluid_slots", "a"): [32] * 20 + ["stale"],
            at("fluid_slots", "b"): [32] * 30 + ["stale"],
            at("fluid_slots", "web"): [0] * 120,
            at("fluid_slots", "c"): ["_"] * 60 + [32] * 60,
        },
        quiet=("29m", "31m"),
        fires="33m",
        says="No consumer of queue orders is seen: runs wait until one starts.",
        resolved="60m",
    ),
    Story(
        alert="FluidConsumerAbsent",
        rule="runs wait where there never was a consumer",
        series={
            at("fluid_slots", "web", queue="mail"): [0] * 120,
            at("fluid_queue_runs", "web", queue="mail", priority="low", status="ready"): (
                [0] * 30 + [4] * 30 + [0] * 60
            ),
        },
        quiet=("29m",),
        fires="33m",
        labels={"queue": "mail"},
        says="No consumer of queue mail is seen: runs wait until one starts.",
        resolved="60m",
    ),
    Story(
        alert="FluidSlotsAllBusy",
        rule="busy slots are well used, until runs wait for them",
        series={
            at("fluid_slots_busy", "a"): [32] * 120,
            at("fluid_slots_busy", "b"): [32] * 120,
            at("fluid_queue_runs", priority="low", status="ready"): [0] * 40 + [5] * 30 + [0] * 60,
        },
        quiet=("39m", "54m"),
        fires="56m",
        says="100% of the slots of queue orders are busy, and runs are ready that find none.",
        resolved="70m",
    ),
    Story(
        alert="FluidClaimingStopped",
        rule="a pause is no fault, and what starts anywhere is claimed",
        series={
            at("fluid_queue_runs", priority="low", status="ready"): [0] * 30 + [5] * 60,
            at("fluid_runs_started_total", "b", task="charge"): counted((30, 1), (20, 0), (60, 1)),
            at("fluid_queue_runs", "c", queue="mail", priority="low", status="ready"): [5] * 120,
            at("fluid_queue_paused", "c", queue="mail"): [1] * 120,
            at("fluid_slots", "c", queue="mail"): [32] * 120,
            at("fluid_slots_busy", "c", queue="mail"): [0] * 120,
        },
        quiet=("29m", "34m"),
        fires="38m",
        says="5 runs of queue orders are ready and slots are free, but in 5m no attempt has begun. "
        "The queue is not paused.",
        resolved="52m",
    ),
    Story(
        alert="FluidLoopBlocked",
        rule="neither a stall now and then nor one bad minute wakes anybody",
        series={
            at("fluid_loop_blocked_total", task="charge"): counted(
                (20, 0), (1, 9), (19, 0), (30, 1), (30, 0)
            ),
            at("fluid_loop_blocked_total", "b", task="other"): counted((120, 0.4)),
        },
        quiet=("24m", "26m", "46m"),
        fires="49m",
        labels=OF_CHARGE,
        says="Bodies of charge in queue orders have made the event loop stand still 5 times in 5m, "
        "and go on doing so. Everything beside them waits.",
        resolved="75m",
    ),
    Story(
        alert="FluidTargetDown",
        rule="targets that are not ours are not our trouble",
        series={
            up("b"): [1] * 30 + [0] * 30 + [1] * 30,
            at("fluid_build_info", "b", version="1.0"): [1] * 30 + ["stale"],
            up("z", job="elsewhere"): [0] * 90,
        },
        quiet=("29m", "31m"),
        fires="33m",
        labels={"job": "workers", "instance": "b"},
        says="Prometheus cannot scrape b of job workers.",
        resolved="60m",
    ),
)

BROKER = (
    Story(
        alert="FluidBrokerDown",
        rule="one process that cannot reach it is enough",
        series={at("fluid_broker_up", "b"): [1] * 20 + [0] + [1] * 9 + [0] * 10 + [1] * 30},
        quiet=("20m", "30m"),
        fires="32m",
        says="50% of the processes of queue orders cannot reach the broker.",
        resolved="40m",
    ),
    Story(
        alert="FluidBrokerUnsafe",
        rule="a danger that passes at once is none",
        series={
            at("fluid_broker_unsafe", "a", reason="eviction"): [0] * 20 + [1] + [0] * 9 + [1] * 20 + [0] * 9,
            at("fluid_broker_unsafe", "b", reason="eviction"): [0] * 59,
        },
        quiet=("20m", "34m"),
        fires="36m",
        labels={"queue": "orders", "reason": "eviction"},
        says="The broker of queue orders is not safe for runs: eviction.",
        resolved="50m",
    ),
    Story(
        alert="FluidBrokerRewound",
        rule="one process that found it is enough",
        series={
            at("fluid_broker_rewound_total", "a"): [2] * 120,
            at("fluid_broker_rewound_total", "b"): [0] * 30 + [1] * 90,
        },
        quiet=("29m",),
        fires="30m",
        says="The broker of queue orders has forgotten what it had confirmed: what was queued or settled "
        "just before is gone, or will run again.",
        resolved="91m",
    ),
    Story(
        alert="FluidCanaryLate",
        rule="the last that came home anywhere counts, also before a restart",
        series={
            at("fluid_canary_interval_seconds", "a"): [60] * 120,
            at("fluid_canary_interval_seconds", "b"): [60] * 120,
            at("fluid_canary_last_success_timestamp_seconds", "a"): [
                *(60 * minute for minute in range(20)),
                *([0] * 60),
                *(60 * minute for minute in range(80, 120)),
            ],
            at("fluid_canary_last_success_timestamp_seconds", "b"): [
                *([0] * 20),
                *(60 * minute for minute in range(20, 40)),
                *([0] * 80),
            ],
            at("fluid_canary_interval_seconds", "c", queue="mail"): [0] * 120,
            at("fluid_canary_last_success_timestamp_seconds", "c", queue="mail"): [60] * 120,
        },
        quiet=("39m", "42m"),
        fires="45m",
        says="In queue orders the canary run should come home all the time, and has not for 3 intervals.",
        resolved="80m",
    ),
    Story(
        alert="FluidCanaryLate",
        rule="one that never came home is late as well",
        series={
            at("fluid_canary_interval_seconds"): [60] * 120,
            at("fluid_canary_last_success_timestamp_seconds"): [0] * 30 + [1800 + 60 * n for n in range(90)],
            at("fluid_canary_failures_total", cause="late"): [min(minute, 29) for minute in range(120)],
        },
        quiet=("2m",),
        fires="10m",
        says="In queue orders the canary run should come home all the time, and has not for 3 intervals.",
        resolved="30m",
    ),
)

OF_PAGER = {"queue": "orders", "event": "failure", "handler": "pager"}

WATCHERS = (
    Story(
        alert="FluidHandlerDrops",
        rule="what is dropped anywhere counts",
        series={
            at("fluid_handler_dropped_total", "a", event="failure", handler="pager"): [0] * 30 + [4] * 60,
            at("fluid_handler_dropped_total", "b", event="failure", handler="pager"): [1] * 30 + [2] * 60,
        },
        quiet=("29m",),
        fires="31m",
        labels=OF_PAGER,
        says="The handler pager of failure in queue orders has missed 5 events in 10m. "
        "Runs are not affected.",
        resolved="41m",
    ),
    *(
        Story(
            alert="FluidTelemetryFails",
            rule=part,
            series={at(name, "a", **labels): [3] * 30 + [5] * 60},
            quiet=("29m",),
            fires="31m",
            labels={"queue": "orders", "part": part},
            says=f"Queue orders, {part}: 2 in 10m. "
            "What is seen of runs may be incomplete; the runs are not affected.",
            resolved="41m",
        )
        for part, name, labels in (
            ("failures of handlers", "fluid_handler_failures_total", {"event": "end", "handler": "pager"}),
            ("spans dropped", "fluid_telemetry_spans_dropped_total", {"cause": "export_failed"}),
            ("log records dropped", "fluid_telemetry_records_dropped_total", {"cause": "queue_full"}),
            ("log lines dropped", "fluid_log_lines_dropped_total", {}),
            ("fleet events dropped", "fluid_fleet_events_dropped_total", {}),
        )
    ),
)

STORIES = (*RUNS, *SCHEDULES, *CONSUMERS, *BROKER, *WATCHERS)

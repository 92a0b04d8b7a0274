"""Plays the matrix: all scenes side by side, one Prometheus and one Alertmanager for all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from dashboards import rules
from dashboards.rules.thresholds import duration
from fluid.clock import elapsed
from tests.live import faults
from tests.live.faults import MATRIX, Fault, Scene
from tests.live.hook import Hook
from tests.support.lifeline import LOOPBACK
from tests.support.servers import AlertmanagerServer, PrometheusServer, RedisServer, Sample

CALM_SECONDS = 600.0
"""Nothing is broken yet, and nothing may be told."""
AFTERMATH_SECONDS = 1200.0
"""Longer than any alert waits before it fires: what should not be told would have been."""
SCRAPE_SECONDS = 15.0
LEASE_SECONDS = 30.0
SHORTEST_LEASE_SECONDS = 3.0
"""However short the rest: a busy machine must manage it."""
SLACK_SECONDS = 30.0
"""What an alert is waited for beyond its time, before it is given up."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a fault."""

    fault: Fault
    told: dict[str, float]
    """The alerts, with the seconds from the strike until each was told; below 0 before it."""
    allowed: float
    """Within how many seconds it should have been."""

    @property
    def right(self) -> bool:
        """The expected alerts were told, and no other, nor any before the strike."""
        return set(self.told) == self.fault.expected and min(self.told.values(), default=0.0) >= 0

    @property
    def in_time(self) -> bool:
        """The last of them came within its time."""
        return max(self.told.values(), default=0.0) <= self.allowed

    def __str__(self) -> str:
        said = ", ".join(f"{alert} {seconds:.0f} s" for alert, seconds in sorted(self.told.items()))
        lacking = ", ".join(sorted(self.fault.expected - set(self.told)))
        verdict = "wrong" if not self.right else "right" if self.in_time else "late"
        lack = f"; lacking: {lacking}" if lacking else ""
        return f"| {self.fault.name} | {verdict} | {said or 'nothing'}{lack} | {self.allowed:.0f} s |"


class Watcher(PrometheusServer):
    """Scrapes every scene, as a job of its own, with our rules."""

    def __init__(self, scenes: Sequence[Scene], alertmanager: AlertmanagerServer, scale: float) -> None:
        super().__init__("")
        scraped = SCRAPE_SECONDS * scale
        paths = []
        for path, text in rules.files(scale).items():
            paths.append(str(self.directory / Path(path).name))
            Path(paths[-1]).write_text(text, encoding="utf-8")
        jobs = [
            {
                "job_name": scene.queue,
                "scrape_interval": duration(max(scraped, scene.scrape_seconds)),
                "scrape_timeout": duration(min(max(scraped, scene.scrape_seconds), 10.0)),
                "static_configs": [{"targets": [f"{LOOPBACK}:{port}" for port in scene.ports]}],
            }
            for scene in scenes
        ]
        config = {
            "global": {"evaluation_interval": duration(max(scraped, faults.SCRAPE_SECONDS))},
            "rule_files": paths,
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [f"{LOOPBACK}:{alertmanager.port}"]}]}]
            },
            "scrape_configs": jobs,
        }
        # JSON is YAML
        self._config.write_text(json.dumps(config), encoding="utf-8")


async def play(directory: Path, *, scale: float = 1.0, say: Say = lambda _: None) -> list[Outcome]:
    """Strike everywhere after a calm time, and tell what came of it. `scale` shortens every duration."""
    lease = max(LEASE_SECONDS * scale, SHORTEST_LEASE_SECONDS)
    env = {
        "FLUID_LEASE_SECONDS": f"{lease:g}",
        "FLUID_LOOP_BLOCKED_AFTER": "0.8",
        "FLUID_MAX_CONCURRENT_TASKS": "8",
        "FLUID_LOG_RUNS": "false",
    }
    async with AsyncExitStack() as stack:
        shared = stack.enter_context(RedisServer("redis", appendonly=True))
        hook = await stack.enter_async_context(Hook())
        alertmanager = stack.enter_context(AlertmanagerServer(hook.url))
        scenes = [
            Scene(
                fault,
                stack.enter_context(RedisServer("redis", appendonly=True)) if fault.own_server else shared,
                directory,
                env,
            )
            for fault in MATRIX
        ]
        await asyncio.gather(*map(stack.enter_async_context, scenes))
        prometheus = stack.enter_context(Watcher(scenes, alertmanager, scale))
        await prometheus.wait_until("count(count_over_time(fluid_slots[1h]) > 1)", of_all(scenes))
        say(f"{len(scenes)} scenes are played; first all is well")
        await hook.wait_until(lambda: bool(hook.told), CALM_SECONDS * scale)
        say(f"told while all was well: {hook.told or 'nothing'}")
        struck = await asyncio.gather(*map(strike, MATRIX, scenes))
        say("everything is broken")
        longest = max(fault.within for fault in MATRIX) * scale + SLACK_SECONDS
        await hook.wait_until(
            lambda: all(fault.expected <= set(hook.of(fault.queue)) for fault in MATRIX), longest
        )
        say("waited for what was to come; now for what was not")
        await asyncio.sleep(AFTERMATH_SECONDS * scale)
        return [
            Outcome(
                fault,
                {alert: at - since for alert, at in hook.of(fault.queue).items()},
                fault.within if scale == 1.0 else fault.within * scale + SLACK_SECONDS,
            )
            for fault, since in zip(MATRIX, struck, strict=True)
        ]


async def strike(fault: Fault, scene: Scene) -> float:
    """Break it; the moment when that began."""
    began = elapsed()
    await fault.strike(scene)
    return began


def of_all(scenes: Sequence[Scene]) -> Callable[[list[Sample]], bool]:
    """Every process of every scene was seen twice."""
    processes = sum(len(scene.ports) for scene in scenes)
    return lambda samples: bool(samples) and samples[0].value == processes

"""Plays the matrix: all scenes side by side, one Prometheus and one Alertmanager for all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from dashboards import rules
from dashboards.rules.thresholds import duration
from fluid.clock import elapsed
from tests.live import faults
from tests.live.faults import MATRIX, Fault, Scene
from tests.live.hook import Hook, Told
from tests.live.outcome import Outcome, Played, Times
from tests.support.lifeline import LOOPBACK
from tests.support.servers import AlertmanagerServer, PrometheusServer, RedisServer, Sample

CALM_SECONDS = 600.0
"""Nothing is broken yet, and nothing may be told."""
LASTING_SECONDS = 1020.0
"""How long a fault goes on that is not over by itself: longer than any alert waits before it fires, so that
what should not be told would have been."""
SCRAPE_SECONDS = 15.0
LEASE_SECONDS = 30.0
SHORTEST_LEASE_SECONDS = 3.0
"""However short the rest: a busy machine must manage it."""
SLACK_SECONDS = 30.0
"""What an alert is waited for beyond its time, before it is given up."""

Say = Callable[[str], None]


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

    async def version(self) -> str:
        """What it is."""
        return f"Prometheus {(await self._ask('status/buildinfo', {}))['version']}"


class Play:
    """One playing of the matrix: `scale` shortens every duration."""

    def __init__(self, hook: Hook, prometheus: Watcher, scale: float, say: Say) -> None:
        self._hook = hook
        self._prometheus = prometheus
        self._scale = scale
        self._say = say

    async def calm(self) -> list[str]:
        """Nothing is broken; the alerts that fire all the same."""
        began = elapsed()
        await self._hook.wait_until(lambda: bool(self._hook.told), CALM_SECONDS * self._scale)
        span = duration(elapsed() - began)
        fired = await self._prometheus.query(f'last_over_time(ALERTS{{alertstate="firing"}}[{span}])')
        told = {f"{alert} of {scene}" for scene, alerts in self._hook.told.items() for alert in alerts}
        return sorted(told | {f"{one.labels['alertname']} of {one.labels['job']}" for one in fired})

    async def row(self, fault: Fault, scene: Scene) -> Times:
        """Break it, see its alerts come, take it back, see them go."""
        within, over_within = self._allowed(fault.within), self._allowed(fault.over_within)
        struck = elapsed()
        await fault.strike(scene)
        await self._hook.wait_until(
            lambda: fault.expected <= set(self._hook.of(scene.queue)), within + SLACK_SECONDS
        )
        if fault.lasts:
            await asyncio.sleep(max(0.0, struck + LASTING_SECONDS * self._scale - elapsed()))
        mended = elapsed()
        await scene.mend()
        due = fault.expected | fault.afterwards
        await self._hook.wait_until(
            lambda: is_over(self._hook.of(scene.queue), due), over_within + SLACK_SECONDS
        )
        self._say(f"{fault.name}: waited until {elapsed() - mended:.0f} s after it was taken back")
        return Times(struck, mended, within, over_within)

    def _allowed(self, seconds: float) -> float:
        return seconds if self._scale == 1.0 else seconds * self._scale + SLACK_SECONDS


def is_over(told: Mapping[str, Told], due: Collection[str]) -> bool:
    """All that was due has been told, and everything that was told has passed."""
    return set(due) <= set(told) and all(one.resolved is not None for one in told.values())


async def play(directory: Path, *, scale: float = 1.0, say: Say = lambda _: None) -> Played:
    """Strike everywhere after a calm time, take it all back, and tell what came of it."""
    lease = max(LEASE_SECONDS * scale, SHORTEST_LEASE_SECONDS)
    env = {
        "FLUID_LEASE_SECONDS": f"{lease:g}",
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
                scale,
            )
            for fault in MATRIX
        ]
        await asyncio.gather(*map(stack.enter_async_context, scenes))
        prometheus = stack.enter_context(Watcher(scenes, alertmanager, scale))
        await prometheus.wait_until("count(fluid_slots)", of_all(scenes))
        say(f"{len(scenes)} scenes are played; first all is well")
        playing = Play(hook, prometheus, scale, say)
        began = elapsed()
        raised = await playing.calm()
        calm = elapsed() - began
        say(f"raised while all was well: {', '.join(raised) or 'nothing'}; now everything is broken")
        times = await asyncio.gather(*map(playing.row, MATRIX, scenes))
        outcomes = [
            Outcome(fault, when, dict(hook.of(fault.queue)))
            for fault, when in zip(MATRIX, times, strict=True)
        ]
        return Played(scale, calm, raised, outcomes, await prometheus.version())


def of_all(scenes: Sequence[Scene]) -> Callable[[list[Sample]], bool]:
    """Every process of every scene was seen."""
    processes = sum(len(scene.ports) for scene in scenes)
    return lambda samples: bool(samples) and samples[0].value == processes

"""What is to be broken, when and for how long: drawn from the seed alone, before anything starts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from tests.chaos.harness.orders import Role

Target = Literal["actor", "broker", "network", "queue"]


class Fault(StrEnum):
    """Everything that can be broken; the value is how the report calls it."""

    KILL = "process killed (-9) and started again"
    PAUSE = "process paused for longer than its lease"
    STOP = "process asked to stop (SIGTERM) and started again"
    TOXIC = "run that kills its process"
    BROKER_RESTART = "broker restarted"
    BROKER_KILL = "broker killed (-9) and started again"
    BROKER_PAUSE = "broker paused"
    CUT = "connections cut"
    REFUSE = "connections cut and refused"
    CUT_ANSWERS = "answers cut"
    FREEZE = "connections frozen"
    SLOW = "network slowed down"
    QUEUE_PAUSE = "queue paused and resumed"
    CUT_FILE = "broker killed and its file cut short"
    PROMOTE = "broker killed and a replica that lagged promoted"


TARGETS: dict[Fault, Target] = {
    Fault.KILL: "actor",
    Fault.PAUSE: "actor",
    Fault.STOP: "actor",
    Fault.TOXIC: "queue",
    Fault.BROKER_RESTART: "broker",
    Fault.BROKER_KILL: "broker",
    Fault.BROKER_PAUSE: "broker",
    Fault.CUT: "network",
    Fault.REFUSE: "network",
    Fault.CUT_ANSWERS: "network",
    Fault.FREEZE: "network",
    Fault.SLOW: "network",
    Fault.QUEUE_PAUSE: "queue",
    Fault.CUT_FILE: "broker",
    Fault.PROMOTE: "broker",
}

REWINDS = frozenset({Fault.CUT_FILE, Fault.PROMOTE})
"""Faults after which the broker has forgotten what it had promised."""

OFTEN = (Fault.KILL, Fault.KILL, Fault.PAUSE, Fault.STOP, Fault.CUT_ANSWERS, Fault.CUT)


@dataclass(frozen=True, slots=True)
class Step:
    """One fault of the plan; `seconds` after the start it is done to `target`, and lasts `lasting`."""

    seconds: float
    fault: Fault
    target: str
    lasting: float
    times: int = 1
    part: float = 0.0
    """From 0 to 1: how much is forgotten."""


def draw(
    seed: int,
    duration: float,
    lease: float,
    actors: Sequence[tuple[str, Role]],
    *,
    pause: float = 1.5,
    rewinds: bool = False,
) -> list[Step]:
    """The faults of so many seconds, about one in `pause` seconds. The same arguments, the same plan.

    They are drawn from a bag until it is empty, and it is filled again: each comes, some more often.
    """
    chance = random.Random(seed)
    full = [fault for fault in Fault if rewinds or fault not in REWINDS] + list(OFTEN)
    steps: list[Step] = []
    bag: list[Fault] = []
    seconds = chance.uniform(0.5, 1.5)
    while seconds < duration:
        if not bag:
            bag = chance.sample(full, len(full))
        fault = bag.pop()
        target: str = TARGETS[fault]
        if target == "actor":
            target, _ = chance.choice(actors)
        steps.append(
            Step(
                round(seconds, 3),
                fault,
                target,
                round(_lasting(chance, fault, lease), 3),
                chance.randint(1, 5) if fault is Fault.CUT_ANSWERS else 1,
                round(chance.random(), 3) if fault in REWINDS else 0.0,
            )
        )
        seconds += chance.uniform(0.5, 1.5) * pause
    return steps


def _lasting(chance: random.Random, fault: Fault, lease: float) -> float:
    match fault:
        case Fault.PAUSE:
            return chance.uniform(1.2, 2.5) * lease
        case Fault.FREEZE | Fault.BROKER_PAUSE | Fault.REFUSE:
            return chance.uniform(0.2, 2.0) * lease
        case Fault.SLOW:
            return chance.uniform(1.0, 3.0)
        case Fault.CUT | Fault.CUT_ANSWERS | Fault.TOXIC:
            return 0.0
        case _:
            return chance.uniform(0.0, 1.0)

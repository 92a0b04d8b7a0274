"""The boards of Grafana, as code."""

from __future__ import annotations

from dashboards.boards.board import Board
from dashboards.boards.one_task import TASK
from dashboards.boards.overview import OVERVIEW
from dashboards.boards.queues import QUEUES_AND_CONSUMERS
from dashboards.boards.schedules import SCHEDULES
from dashboards.boards.watchers import WATCHERS

BOARDS: tuple[Board, ...] = (OVERVIEW, TASK, QUEUES_AND_CONSUMERS, SCHEDULES, WATCHERS)


def files() -> dict[str, str]:
    """The text of every file, by its path below the generated data."""
    return {f"boards/{board.uid}.json": board.text() for board in BOARDS}

"""Pages of lists: where one begins, what is in it, and what comes and goes meanwhile."""

from __future__ import annotations

import pytest

from fluid.errors import CursorError
from fluid.scheduler.moves import Kind, Settlement
from fluid.scheduler.states import TaskState
from tests.fluid.scheduler.brokers.desk import LONG, Desk, ids


async def in_state(desk: Desk, state: TaskState, *run_ids: str) -> None:
    """Runs in this state, the newest ones of it."""
    await desk.queue(*run_ids, delay=LONG if state is TaskState.scheduled else 0.0)
    if state in (TaskState.queued, TaskState.scheduled):
        return
    runs = await desk.take(len(run_ids))
    assert sorted(ids(runs)) == sorted(run_ids)
    for run in runs:
        if state is TaskState.held:
            assert await desk.settle(run, Kind.held, reason="unknown_task")
        elif state is not TaskState.running:
            assert await desk.settle(run, Kind(str(state)), ttl=LONG)


async def out_of_state(desk: Desk, state: TaskState, run_id: str) -> None:
    """The run is somewhere else."""
    if state is TaskState.failure:
        with desk.own.server.client() as client:
            client.delete(desk.keys.run(run_id))  # as when its evidence expires
    elif state is TaskState.running:
        (at,) = [run for run in await desk.broker.list_runs(state, limit=1000) if run.id == run_id]
        assert at.owner == "ann"
        with desk.own.server.client() as client:
            kept = client.hmget(desk.keys.run(run_id), "at", "entry")
        code, entry = (word.decode() for word in kept if word is not None)
        told = await desk.broker.settle([Settlement(code=code, entry=entry, id=run_id, kind=Kind.success)])
        assert told.accepted == [True]
    else:
        assert await desk.broker.cancel(run_id) == "ended"


@pytest.mark.parametrize(
    "state",
    [
        TaskState.failure,
        TaskState.dead,
        TaskState.held,
        TaskState.scheduled,
        TaskState.queued,
        TaskState.running,
    ],
)
async def test_a_run_that_stays_is_in_one_page_whatever_comes_and_goes(desk: Desk, state: TaskState) -> None:
    names = [f"run-{n:02}" for n in range(20)]
    await in_state(desk, state, *names)
    pages: list[list[str]] = []
    after = ""
    while True:
        page = await desk.broker.list_runs(state, limit=3, after=after)
        pages.append([run.id for run in page])
        after = page.after
        if not after:
            break
        # the very run behind which the next page begins goes, one that was listed, and another comes
        await out_of_state(desk, state, pages[-1][-1])
        await out_of_state(desk, state, pages[-1][0])
        if state is not TaskState.queued:
            await in_state(desk, state, f"new-{len(pages)}")
    listed = [run_id for page in pages for run_id in page]
    assert len(listed) == len(set(listed))
    assert sorted(run_id for run_id in listed if run_id in names) == names
    assert [len(page) for page in pages[:-1]] == [3] * (len(pages) - 1)


async def test_the_last_page_says_so(desk: Desk) -> None:
    await desk.queue("a", "b", "c", "d", delay=LONG)
    first = await desk.broker.list_runs(TaskState.queued, TaskState.scheduled, limit=2)
    second = await desk.broker.list_runs(TaskState.queued, TaskState.scheduled, limit=2, after=first.after)
    assert [run.id for run in (*first, *second)] == ["a", "b", "c", "d"]
    assert second.after == ""


@pytest.mark.parametrize("after", ["x", "nonsense", "\u00e9", "ZGVhZABkZWFkX2gA", "ZGVhZABib29rcwB4"])
async def test_only_what_a_page_has_said_is_where_another_one_begins(desk: Desk, after: str) -> None:
    with pytest.raises(CursorError, match="take what the page before said"):
        await desk.broker.list_runs(TaskState.dead, after=after)


async def test_a_page_of_other_states_begins_nowhere_in_these(desk: Desk) -> None:
    await desk.queue("a", "b")
    page = await desk.broker.list_runs(TaskState.queued, limit=1)
    assert page.after
    with pytest.raises(CursorError):
        await desk.broker.list_runs(TaskState.running, after=page.after)


async def test_a_word_is_not_taken_for_another_one_like_it(desk: Desk) -> None:
    for task, reason in (("error", "timeout"), ("mail", "error"), ("mail2", "error2")):
        await desk.queue(task, task=task)
        assert await desk.settle(await desk.take_one(), Kind.dead, reason=reason)
        await desk.queue(f"held-{task}", task=task)
        assert await desk.settle(await desk.take_one(), Kind.held, reason=reason)
    listed = desk.broker.list_runs
    assert [run.id for run in await listed(TaskState.dead, reason="error")] == ["mail"]
    assert [run.id for run in await listed(TaskState.dead, task="error")] == ["error"]
    assert [run.id for run in await listed(TaskState.dead, task="mail", reason="error")] == ["mail"]
    assert [run.id for run in await listed(TaskState.held, reason="error")] == ["held-mail"]


async def test_large_messages_are_answered_a_few_at_a_time(desk: Desk) -> None:
    names = [f"run-{n}" for n in range(8)]
    await desk.queue(*names, message=b"x" * 100_000, delay=LONG)
    calls: list[str] = []
    desk.broker.listeners.command.append(lambda move, *_: calls.append(move))
    assert [run.id for run in await desk.broker.list_runs(TaskState.scheduled)] == names
    assert calls.count("list") == 3 + 2  # three of them in one go; two priorities have none


async def test_an_id_that_has_failed_twice_is_listed_once(desk: Desk) -> None:
    for instant in (1000, 2000):
        await desk.queue("a")
        assert await desk.settle(await desk.take_one(), Kind.failure, ttl=0.001 if instant == 1000 else LONG)
        if instant == 1000:
            await desk.expired("a")
    assert [run.id for run in await desk.broker.list_runs(TaskState.failure)] == ["a"]

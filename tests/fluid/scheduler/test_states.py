"""States and priorities: what is final, what is a failure, and which moves are legal."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from fluid.errors import IllegalMoveError
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import MOVES, TaskPriority, TaskState

S = TaskState
LIFE = [
    [S.init, S.queued, S.running, S.success],
    [S.init, S.scheduled, S.queued, S.running, S.scheduled, S.queued, S.running, S.failure],
    [S.init, S.queued, S.running, S.held, S.queued, S.running, S.aborted],
    [S.init, S.queued, S.running, S.dead, S.queued, S.running, S.queued],
    [S.init, S.scheduled, S.aborted],
    [S.init, S.queued, S.running, S.dead, S.aborted],
]


def move(old: TaskState, new: TaskState) -> TaskState:
    """The state of a run that was moved."""
    run = TaskRun[None](id="run-7", name="greet", params=None, state=old)
    run.move(new)
    return run.state


@pytest.mark.parametrize("life", LIFE)
def test_a_life_as_it_is_lived_is_legal(life: list[TaskState]) -> None:
    for old, new in pairwise(life):
        assert move(old, new) is new


@pytest.mark.parametrize("old", [S.success, S.failure, S.aborted])
def test_nothing_follows_a_final_state(old: TaskState) -> None:
    assert old.is_done
    for new in S:
        with pytest.raises(IllegalMoveError, match="it is final"):
            move(old, new)


@pytest.mark.parametrize(
    ("old", "new"), [(S.init, S.success), (S.queued, S.success), (S.dead, S.running), (S.held, S.failure)]
)
def test_a_made_up_history_is_an_error_that_names_what_is_legal(old: TaskState, new: TaskState) -> None:
    with pytest.raises(IllegalMoveError) as refused:
        move(old, new)
    for word in ("run-7", old, new, *MOVES[old]):
        assert word in str(refused.value)


def test_every_move_is_judged_by_the_table() -> None:
    for old, new in product(S, S):
        if new in MOVES[old]:
            assert move(old, new) is new
        else:
            with pytest.raises(IllegalMoveError):
                move(old, new)


def test_no_state_follows_itself_and_none_leads_back_to_init() -> None:
    assert set(MOVES) == set(S)
    for old, following in MOVES.items():
        assert old not in following
        assert S.init not in following


def test_what_is_done_and_what_is_a_failure() -> None:
    assert {state for state in S if state.is_done} == {S.success, S.failure, S.aborted}
    assert {state for state in S if state.is_failure} == {S.failure, S.aborted, S.dead}


def test_states_and_priorities_are_their_own_words() -> None:
    assert [str(priority) for priority in TaskPriority] == ["high", "medium", "low"]
    assert TaskState("running") is S.running

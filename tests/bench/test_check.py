"""A run costs no more than its budget, and it is noticed when it does."""

from __future__ import annotations

import pytest

from tests.bench.check import check, costs


@pytest.mark.servers
@pytest.mark.slow
def test_a_run_costs_no_more_than_its_budget() -> None:
    found = list(check())
    assert {cost.what for cost in found} == {"calls", "commands", "round_trips"}
    assert not [str(cost) for cost in found if cost.is_over]


@pytest.mark.parametrize(("counted", "over"), [(90.0, False), (103.0, False), (103.1, True)])
def test_growth_is_noticed_above_the_margin(counted: float, over: bool) -> None:
    [cost] = costs("off", {"calls": 100.0}, {"calls": counted}, margin=0.03)
    assert cost.is_over is over
    assert ("MORE" in str(cost)) is over


def test_a_figure_of_the_budget_has_to_be_counted() -> None:
    with pytest.raises(KeyError):
        costs("off", {"calls": 1.0}, {}, margin=0.03)

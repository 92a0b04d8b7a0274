"""Settings: keyword or variable, checked whole, all faults at once, never changed after."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fluid.errors import ConfigurationError
from fluid.settings import TaskManagerConfig

DEFAULTS = {
    "broker_url": "",
    "max_concurrent_tasks": 32,
    "task_timeout": 300,
    "lease_seconds": 30,
    "max_deliveries": 5,
    "result_ttl": 3600,
    "failure_ttl": 7 * 86400,
    "stopping_grace_period": 10,
    "loop_blocked_after": 0.25,
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TaskManagerConfig.model_fields:
        monkeypatch.delenv(f"FLUID_{name.upper()}", raising=False)


def test_the_defaults_are_those_that_are_promised() -> None:
    config = TaskManagerConfig()
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("broker_url", "redis://localhost", "redis://localhost"),
        ("max_concurrent_tasks", "7", 7),
        ("task_timeout", "0", 0.0),
        ("lease_seconds", "2.5", 2.5),
        ("stopping_grace_period", "0", 0.0),
    ],
)
def test_a_variable_sets_a_field_and_a_keyword_wins(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: Any
) -> None:
    monkeypatch.setenv(f"FLUID_{name.upper()}", text)
    assert getattr(TaskManagerConfig(), name) == value
    default = DEFAULTS[name]
    assert getattr(TaskManagerConfig(**{name: default}), name) == default


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_concurrent_tasks", 0),
        ("max_concurrent_tasks", 10_001),
        ("task_timeout", -1),
        ("lease_seconds", 0.1),
        ("max_deliveries", 0),
        ("result_ttl", 0),
        ("failure_ttl", 0),
        ("stopping_grace_period", -1),
        ("queue_timeout", 0),
        ("loop_blocked_after", 0),
        ("max_concurrent_tasks", "many"),
    ],
)
def test_what_cannot_work_is_refused_by_the_name_a_user_would_set(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        TaskManagerConfig(**{name: value})
    assert f"FLUID_{name.upper()}" in str(refused.value)
    assert repr(value) in str(refused.value)


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUID_RESULT_TTL", "soon")
    with pytest.raises(ConfigurationError) as refused:
        TaskManagerConfig(lease_seconds=0, max_deliveries=0)
    for name in ("FLUID_RESULT_TTL", "FLUID_LEASE_SECONDS", "FLUID_MAX_DELIVERIES"):
        assert name in str(refused.value)


def test_an_unknown_setting_is_named_with_those_that_are_known() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown settings: leese_seconds; known: .*lease_seconds"):
        TaskManagerConfig(leese_seconds=3)


def test_settings_do_not_change_after_they_were_checked() -> None:
    config = TaskManagerConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.lease_seconds = 1


def test_a_broker_url_with_its_password_is_not_shown() -> None:
    config = TaskManagerConfig(broker_url="redis://:swordfish@localhost")
    assert "swordfish" not in repr(config)
    assert "swordfish" not in str(config)

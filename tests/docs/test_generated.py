"""Pages that say what the code says are up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generate import pages
from fluid.scheduler import EVENTS, TaskManagerConfig

WRITTEN = pages()


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_a_generated_page_is_up_to_date(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == WRITTEN[page], "run `python docs/generate.py`"


def test_every_event_and_every_setting_is_on_its_page() -> None:
    text = "".join(WRITTEN.values())
    wanted = [*EVENTS, *(f"FLUID_{name}".upper() for name in TaskManagerConfig.model_fields)]
    assert [name for name in wanted if f"| `{name}` |" not in text] == []

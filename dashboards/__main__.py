"""`python -m dashboards` writes everything anew into the data that `telemetry` ships."""

from __future__ import annotations

from pathlib import Path

from dashboards import boards, rules

DATA = Path(__file__).resolve().parents[1] / "telemetry" / "data"


def files() -> dict[str, str]:
    """The text of every generated file, by its path below `telemetry/data`."""
    return rules.files() | rules.of_the_operator() | boards.files()


def main() -> None:
    """Write them."""
    for path, text in files().items():
        place = DATA / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

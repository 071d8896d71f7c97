"""The Grafana dashboard of the chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = Path("helm/evapi-adapter/dashboards/evapi-adapter.json")
DASHBOARD: dict[str, Any] = json.loads(PATH.read_text("utf-8"))


def panels() -> list[dict[str, Any]]:
    """Every panel, those of folded rows included."""
    found: list[dict[str, Any]] = []
    for panel in DASHBOARD["panels"]:
        found += [panel, *panel.get("panels", ())]
    return found


def queries() -> Iterator[tuple[str, str, str]]:
    """Title, expression and legend of each."""
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], plain(target["expr"]), target["legendFormat"]
    for each in DASHBOARD["annotations"]["list"]:
        if "expr" in each:
            yield each["name"], plain(each["expr"]), each["textFormat"]


def plain(expression: str) -> str:
    """Without Grafana's own durations; its other variables stand in strings."""
    return expression.replace("$__rate_interval", "5m")


def variables() -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in DASHBOARD["templating"]["list"]}

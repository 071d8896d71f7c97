"""The Grafana dashboard: whole, and made of what there is. What it looks like a person has to see."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from tests.helm import promql
from tests.helm.dashboard import DASHBOARD, PATH, panels, queries, variables

WIDTH = 24


@pytest.mark.parametrize("title, expression, legend", list(queries()))
def test_a_query_asks_for_what_there_is(
    title: str, expression: str, legend: str, exported: dict[str, frozenset[str]]
) -> None:
    left = promql.labels(expression, exported)
    assert set(re.findall(r"{{\s*(\w+)\s*}}", legend)) <= left


def test_the_variables_ask_for_what_there_is(exported: dict[str, frozenset[str]]) -> None:
    assert {"datasource", "job", "instance", "node"} == set(variables())
    for name, each in variables().items():
        if each["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", each["query"]["query"])
            assert found is not None
            assert found[2] == name
            assert name in promql.labels(found[1], exported)


def test_only_known_variables_are_used() -> None:
    own = {*variables(), "__rate_interval", "__all"}
    assert set(re.findall(r"\$\{?(\w+)", PATH.read_text("utf-8"))) <= own


def test_every_panel_heeds_the_choice_of_job() -> None:
    without = [
        title for title, expression, _ in queries() if "evapi_" in expression and '"$job"' not in expression
    ]
    assert without == []


def test_no_two_panels_overlap_and_none_sticks_out() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in DASHBOARD["panels"]]
    for title, at in places:
        assert 0 <= at["x"] < at["x"] + at["w"] <= WIDTH, title
        assert at["y"] >= 0 < at["h"], title
    for (one, a), (other, b) in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, (one, other)


def test_every_panel_is_whole() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    for panel in panels():
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
            marks = [target["refId"] for target in panel["targets"]]
            assert len(marks) == len(set(marks)), panel["title"]


def test_rows_go_from_whether_it_is_us_to_the_process() -> None:
    rows = [panel["title"].partition("  ")[0] for panel in panels() if panel["type"] == "row"]
    assert rows == [
        "Is it us?",
        "Where is it stuck?",
        "Links",
        "Broker",
        "Store and replicas",
        "Consumers",
        "Services that decide together",
        "Process",
    ]


def test_every_metric_of_ours_is_on_it(exported: dict[str, frozenset[str]]) -> None:
    shown = {name for _, expression, _ in queries() for name in promql.metrics(expression)}
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported if name.startswith("evapi_")}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    assert ours - families == set()

"""The alert rules: as Prometheus reads them, and that they ask for what there is."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families

from adapter.cli.main import app
from tests.harness import promtool
from tests.harness.process import HarnessError
from tests.helm import promql
from tests.helm.rules import ALERTS, BUDGET, EVERY, FOLDER, RULES, TESTS, parse

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])


@pytest.mark.parametrize("rules", [RULES, BUDGET], ids=lambda path: path.stem)
def test_prometheus_takes_the_rules(rules: Path) -> None:
    promtool.check_rules(rules)


def test_prometheus_finds_each_alert_right() -> None:
    promtool.test_rules(TESTS)


def test_what_promtool_finds_wrong_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("groups: [{name: a, rules: [{alert: A, expr: 'sum('}]}]")
    with pytest.raises(HarnessError, match="parse error"):
        promtool.check_rules(tmp_path / "rules.yaml")


def test_each_alert_is_seen_firing_and_silent() -> None:
    firing, silent = Counter[str](), Counter[str]()
    for path in TESTS:
        for group in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for case in group["promql_expr_test"]:
                for name in re.findall(r'alertname="(\w+)"', case["expr"]):
                    (firing if case["exp_samples"] else silent)[name] += 1
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names))
    assert set(firing) == set(silent) == set(names)


@pytest.fixture(scope="module")
def known(exported: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Labels by the name of a series: those that are exported, and those that rules record."""
    found = dict(exported)
    for rule in EVERY:
        if "record" in rule:
            found[rule["record"]] = promql.labels(rule["expr"], found)
    return found


def test_nothing_is_recorded_that_no_alert_goes_by() -> None:
    asked = set().union(*(promql.metrics(rule["expr"]) for rule in ALERTS))
    assert [rule["record"] for rule in EVERY if "record" in rule and rule["record"] not in asked] == []


@BY_NAME
def test_it_asks_for_what_there_is(rule: dict[str, Any], known: dict[str, frozenset[str]]) -> None:
    left = promql.labels(rule["expr"], known)
    told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert told <= left


@BY_NAME
def test_it_says_all_that_is_needed(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Evapi")
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert re.fullmatch(r"\d+[sm]", rule["for"])
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "run", "runbook_url"}
    assert notes["runbook_url"] == f"RUNBOOK.md#{rule['alert'].lower()}"
    assert len(re.sub(r"{{.*?}}", "sbc1", notes["summary"])) < 80
    assert notes["description"].endswith(".")


def test_the_runbook_has_a_section_for_each_alert() -> None:
    """In the order of the rules, with what callers notice, where to look and what to do."""
    sections = re.split(r"^### ", (FOLDER.parent / "RUNBOOK.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    assert [section.split("\n", 1)[0] for section in sections] == [rule["alert"] for rule in ALERTS]
    for section in sections:
        assert re.findall(r"^- (\w+):", section, re.MULTILINE) == ["Callers", "Look", "Do"], section


def test_the_runbooks_commands_are_there() -> None:
    text = (FOLDER.parent / "RUNBOOK.md").read_text("utf-8")
    for line in set(re.findall(r"`evapi-adapter ([^`]+)`", text)):
        parse(app, shlex.split(line))


@BY_NAME
def test_its_command_is_one_that_there_is(rule: dict[str, Any]) -> None:
    program, *words = shlex.split(rule["annotations"]["run"])
    assert program == "evapi-adapter"
    parse(app, words)


def test_an_alert_that_points_at_the_dead_letters_goes_by_something_that_leaves_one() -> None:
    """A handler that raises leaves none: the list would be empty."""
    pointing = [rule for rule in ALERTS if "dead-letters" in rule["annotations"]["run"]]
    assert pointing
    for rule in pointing:
        assert re.search(r"evapi_broker_dead_letters_total|_refused_total", rule["expr"]), rule["alert"]


def test_the_charts_readme_counts_them_right() -> None:
    (told,) = re.findall(
        r"\b(\d+) alerts, as PrometheusRule", (FOLDER.parent / "README.md").read_text("utf-8")
    )
    assert int(told) == len(ALERTS)


def test_a_command_line_is_read_to_its_end() -> None:
    program, group = typer.Typer(), typer.Typer()
    alone = typer.Typer(invoke_without_command=True, callback=lambda service="": None)
    program.add_typer(group, name="group")
    program.add_typer(alone, name="alone")
    alone.command("inner")(lambda: None)
    program.command("plain")(lambda: None)
    group.command("inner")(lambda limit=1: None)
    group.command("other")(lambda: None)
    for words in (["plain"], ["group", "inner"], ["group", "inner", "--limit", "3"]):
        parse(program, words)
    for words in (["alone"], ["alone", "--service", "a"], ["alone", "inner"]):
        parse(program, words)
    for words in (
        ["no"],
        ["group", "no"],
        ["group", "inner", "--no"],
        ["group", "inner", "more"],
        ["alone", "no"],
    ):
        with pytest.raises(Exception, match=r"No such (command|option)|unexpected extra argument"):
            parse(program, words)


def test_prometheus_finds_nothing_wrong_with_what_is_exported(scraped: str) -> None:
    promtool.check_metrics(scraped)
    with pytest.raises(HarnessError, match="_total"):
        promtool.check_metrics("# HELP a Grows.\n# TYPE a counter\na 1\n")


def test_every_family_of_a_running_adapter_has_a_series_from_the_start(scraped: str) -> None:
    """So that rates begin at 0, and the tests beside this one know its labels."""
    without = [family.name for family in text_string_to_metric_families(scraped) if not family.samples]
    assert without == []


@pytest.mark.parametrize(
    "expression",
    [
        "evapi_nothing",
        'evapi_link_up{outcome="decided"}',
        "sum by (outcome) (evapi_link_up)",
        "sum by (job) (evapi_link_up) and evapi_link_up",
        "evapi_link_up and on (event) evapi_paused",
        "histogram_quantile(0.9, sum by (job) (rate(evapi_hop_seconds_bucket[5m])))",
    ],
)
def test_what_is_not_there_is_found(expression: str, exported: dict[str, frozenset[str]]) -> None:
    with pytest.raises(promql.Wrong):
        promql.labels(expression, exported)


def test_the_served_call_has_left_its_trace(scraped: str) -> None:
    for line in (
        'evapi_hop_seconds_count{hop="consumer"} 1.0',
        'evapi_hop_seconds_count{hop="queue"} 1.0',
        'evapi_hop_seconds_count{hop="work"} 1.0',
        'evapi_hop_seconds_count{hop="publish"} 1.0',
        'evapi_deadline_used_ratio_count{event="invite_request"} 1.0',
        'evapi_outcomes_total{event="invite_request",node="sbc1",outcome="unroutable"} 0.0',
        'evapi_link_connects_total{node="sbc1"} 1.0',
        "evapi_broker_dead_letters_total 0.0",
        "evapi_journal_dropped_total 0.0",
    ):
        assert line in scraped.splitlines()
    (receipts,) = re.findall(r'evapi_hop_seconds_count{hop="receipt"} (\S+)', scraped)
    assert float(receipts) > 0

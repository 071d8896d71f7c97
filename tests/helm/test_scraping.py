"""A real Prometheus scrapes an adapter and a consumer, and evaluates rules and dashboard on what it got."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.bridge import Bridge
from tests.harness.kamailio import KamailioServer
from tests.harness.process import Process, free_port, wait_until
from tests.harness.prometheus import PrometheusServer
from tests.helm.dashboard import queries
from tests.helm.rules import ALERTS, BUDGET, EVERY, RULES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXPRESSIONS = [(rule["alert"], rule["expr"]) for rule in ALERTS] + [
    (title, re.sub(r"\$\{?\w+\}?", ".*", expression)) for title, expression, _ in queries()
]
EXPOSITION = re.compile(r"-?(\d+\.\d+|\d+(\.\d+)?e[+-]\d+|\+?Inf)")
"""A number as Prometheus 3 stores it in ``le``: never ``1`` for ``1.0``."""


def consumer(folder: Path, port: int) -> Process:
    """One that serves its metrics. There is no RabbitMQ for it: that makes no other series."""
    command = [sys.executable, "-m", "consumers", "consumers.screening:service"]
    flags = ["--amqp-url", "amqp://127.0.0.1:1/", "--http", f"127.0.0.1:{port}"]
    return Process("consumer", [*command, *flags], folder)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """One that has scraped each twice."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    embedded = {"consumer": "consumers.screening:service"}
    with (
        consumer(folder, port),
        KamailioServer(folder) as kamailio,
        Bridge("adapter", folder, {"sbc1": kamailio.evapi_port}, embedded) as bridge,
        PrometheusServer(folder, {"evapi": bridge.http_port, "consumers": port}, [RULES, BUDGET]) as server,
    ):
        scraped = {"query": "count(sum_over_time(up[1m]) >= 2) == 2"}
        wait_until(lambda: server.ask("query", **scraped)["data"]["result"], "two scrapes of each")
        yield server


def test_it_is_scraped_without_an_error(prometheus: PrometheusServer) -> None:
    for target in prometheus.targets():
        assert (target["health"], target["lastError"]) == ("up", "")
    for query in ('min(min_over_time(up{job="evapi"}[1m]))', "count(evapi_consumer_ready == 0)"):
        assert prometheus.ask("query", query=query)["data"]["result"][0]["value"][1] == "1"
    assert prometheus.complaints() == []


def test_every_rule_can_be_evaluated(prometheus: PrometheusServer) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("rules")["data"]["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), "the rules' first evaluation")
    assert len(rules()) == len(EVERY)
    assert [rule for rule in rules() if rule["health"] != "ok" or rule.get("lastError")] == []


def test_every_expression_is_answered_without_a_remark(prometheus: PrometheusServer) -> None:
    """Prometheus 3 remarks, for example, that what a rate is taken of may be no counter."""
    for name, expression in EXPRESSIONS:
        said = prometheus.ask("query", query=expression)
        assert said["status"] == "success", name
        assert (said.get("warnings"), said.get("infos")) == (None, None), name


def test_what_it_stores_of_numbers_in_labels_is_what_we_write(prometheus: PrometheusServer) -> None:
    stored = prometheus.ask("label/le/values", **{"match[]": '{job="evapi"}'})["data"]
    assert len(stored) > 10
    assert [value for value in stored if not EXPOSITION.fullmatch(value)] == []


@pytest.mark.parametrize("name, expression", EXPRESSIONS)
def test_numbers_in_labels_are_selected_as_every_prometheus_stores_them(name: str, expression: str) -> None:
    """We write ``le="1.0"``, as Prometheus 3 stores it whatever is written; ``le="1"`` would find nothing."""
    for how, value in re.findall(r'\b(?:le|quantile)\s*(=~|!~|!=|=)\s*"([^"]*)"', expression):
        assert how in ("=", "!="), name
        assert EXPOSITION.fullmatch(value), name

"""A release through its life, by the real helm on an API server in memory: no pod ever runs there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.helm_binary import HelmError
from tests.harness.kube_api import KubeApi, merged
from tests.helm.chart import CHART, LEAST, VALUES, changed
from tests.helm.objects import name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helm.chart import Charts
    from tests.helm.objects import Object

ADAPTER = "sip-evapi-adapter"
CONSUMERS: list[Object] = [{"name": "one", "module": "a:b", "files": {"a.py": "b = 1\n"}}]


class Release:
    """The release ``sip`` on a server of its own."""

    def __init__(self, charts: Charts, api: KubeApi) -> None:
        self._charts = charts
        self.api = api

    def do(self, verb: str, *words: str, values: Object | None = None) -> str:
        """What helm says. Raises HelmError."""
        return self._charts.helm.run(verb, "sip", *words, *self.api.options, values=values)

    def put(self, verb: str, values: Object) -> str:
        """Install or upgrade. The server has no schemas to check by; those have tests of their own."""
        return self.do(verb, str(CHART), "--disable-openapi-validation", values=values)

    def rendered(self, values: str) -> list[Object]:
        """What ``helm template`` gives for these of VALUES, without what runs for ``helm test`` alone."""
        found = self._charts.named(values)
        return [each for each in found if "helm.sh/hook" not in (each["metadata"].get("annotations") or {})]

    def template(self, its: str = ADAPTER) -> Object:
        """From what the pods of a Deployment are made: they are replaced when it changes."""
        (found,) = self.api.found("Deployment", its)
        return found["spec"]["template"]


@pytest.fixture
def release(charts: Charts) -> Iterator[Release]:
    with KubeApi() as api:
        yield Release(charts, api)


def test_a_release_comes_changes_goes_back_and_goes(release: Release) -> None:
    release.put("install", changed(LEAST, consumers=CONSUMERS))
    first = release.api.names()
    template = release.template()
    assert {
        f"Deployment/{ADAPTER}",
        f"Deployment/{ADAPTER}-one",
        f"Service/{ADAPTER}",
        f"ConfigMap/{ADAPTER}",
        f"PodDisruptionBudget/{ADAPTER}",
        f"NetworkPolicy/{ADAPTER}",
        f"ServiceAccount/{ADAPTER}",
    } <= first

    less: Object = {"podDisruptionBudget": {"enabled": False}, "replicas": 3}
    release.put("upgrade", changed(LEAST, **less))
    assert first - release.api.names() >= {f"Deployment/{ADAPTER}-one", f"PodDisruptionBudget/{ADAPTER}"}
    assert release.api.found("Deployment", ADAPTER)[0]["spec"]["replicas"] == 3
    assert release.template() == template

    history = release.do("history")
    assert "Install complete" in history
    assert "Upgrade complete" in history
    release.do("rollback", "1")
    assert release.api.names() == first
    assert release.api.found("Deployment", ADAPTER)[0]["spec"]["replicas"] == 2
    assert "Rollback to 1" in release.do("history")

    release.do("uninstall")
    assert release.api.objects == {}


def test_what_changes_for_a_pod_replaces_it(release: Release) -> None:
    values = changed(
        LEAST, consumers=CONSUMERS, rabbitmq={"existingSecret": "", "url": "amqp://u:one-word@r/"}
    )
    release.put("install", values)
    before = release.template()
    release.put("upgrade", values)
    assert release.template() == before
    for change in (
        {"rabbitmq": {"url": "amqp://u:other-word@r/"}},
        {"settings": {"lease": 2}},
        {"image": {"tag": "9.9.9"}},
    ):
        release.put("upgrade", changed(values, **change))
        assert release.template() != before, change
    release.put("upgrade", changed(values, policy="[default]\ndeadline = 1.0\n"))
    assert release.template() == before, "a policy is followed"
    release.put("upgrade", values)
    assert release.template() == before


def test_a_consumers_files_and_server_replace_its_pods_alone(release: Release) -> None:
    url = {"existingSecret": "", "url": "amqp://u:one-word@r/"}
    values = changed(LEAST, consumers=CONSUMERS, rabbitmq=url)
    release.put("install", values)
    adapter, consumer = release.template(), release.template(f"{ADAPTER}-one")
    release.put("upgrade", changed(values, consumers=[{**CONSUMERS[0], "files": {"a.py": "b = 2\n"}}]))
    assert release.template() == adapter
    assert release.template(f"{ADAPTER}-one") != consumer
    release.put("upgrade", changed(values, rabbitmq={"url": "amqp://u:other-word@r/"}))
    assert release.template(f"{ADAPTER}-one") != consumer


def test_a_release_of_one_kind_becomes_another(release: Release) -> None:
    """What is there is what is rendered; and nothing that cannot be changed depends on a user's values."""
    release.put("install", VALUES["least"])
    for each in VALUES:
        release.put("upgrade", VALUES[each])
        assert release.api.names() == {name(found) for found in release.rendered(each)}, each
    release.do("uninstall")
    assert release.api.objects == {}


def test_two_releases_stand_beside_each_other(charts: Charts) -> None:
    with KubeApi() as api:
        for its in ("blue", "green"):
            words = (str(CHART), "--disable-openapi-validation", *api.options)
            charts.helm.run("install", its, *words, values=changed(LEAST, consumers=CONSUMERS))
        selectors = [each["spec"]["selector"]["matchLabels"] for each in api.found("Deployment")]
        assert len({tuple(sorted(each.items())) for each in selectors}) == 4
        charts.helm.run("uninstall", "blue", *api.options)
        assert {each["metadata"]["name"] for each in api.found("Deployment")} == {
            "green-evapi-adapter",
            "green-evapi-adapter-one",
        }


NEXT_STEPS = {
    "nobody-decides": (LEAST, ["Nobody decides yet", "evapi-adapter doctor"], ["NEVER FOR PRODUCTION"]),
    "consumers": (changed(LEAST, consumers=CONSUMERS), ["helm -n voip test sip"], ["Nobody decides"]),
    "ports": (
        changed(LEAST, consumers=CONSUMERS, http={"port": 19464}),
        ["Metrics are on port 19464, consumers' on"],
        ["9464;"],
    ),
    "dev": ({"kamailio": LEAST["kamailio"], "dev": {"enabled": True}}, ["NEVER FOR PRODUCTION"], []),
    "alone": (changed(LEAST, replicas=1), ["Give 2"], []),
    "monitored": (changed(LEAST, metrics={"podMonitor": {"enabled": True}}), [], ["Metrics are on"]),
}


@pytest.mark.parametrize("values, said, not_said", NEXT_STEPS.values(), ids=list(NEXT_STEPS))
def test_the_next_step_is_told(
    release: Release, values: Object, said: list[str], not_said: list[str]
) -> None:
    notes = release.put("install", values).partition("NOTES:")[2]
    assert [each for each in said if each not in notes] == []
    assert [each for each in not_said if each in notes] == []
    assert "<no value>" not in notes
    assert "%!" not in notes


def test_the_server_merges_as_kubernetes_does() -> None:
    old = {
        "spec": {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": [1, 2], "x": 1}
    }
    patch = {"spec": {"env": [{"name": "A", "value": "7"}], "args": [3], "x": None, "$retainKeys": []}}
    new = {"spec": {"env": [{"name": "A", "value": "7"}, {"name": "B", "value": "2"}], "args": [3]}}
    assert merged(old, patch) == new
    gone = {"spec": {"env": [{"name": "A", "$patch": "delete"}]}}
    assert merged(new, gone)["spec"]["env"] == [{"name": "B", "value": "2"}]


def test_a_changed_selector_is_refused(release: Release) -> None:
    release.put("install", LEAST)
    with pytest.raises(HelmError, match="immutable"):
        release.put("upgrade", changed(LEAST, nameOverride="other", fullnameOverride=ADAPTER))

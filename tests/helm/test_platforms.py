"""Where the chart is installed otherwise: as a part of another chart, and on OpenShift."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.harness.helm_binary import HelmError, documents
from tests.helm.chart import CHART, LEAST, VALUES, Charts, changed
from tests.helm.objects import of, pods
from tests.helm.restricted import violations

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helm.objects import Object

OPENSHIFT = ("--api-versions", "security.openshift.io/v1")
IDS = {"runAsUser", "runAsGroup", "fsGroup"}


@pytest.fixture
def umbrella(tmp_path: Path) -> Path:
    """A chart that has this one as a part, under a condition."""
    part = {"name": "evapi-adapter", "version": "0.1.0", "condition": "evapi-adapter.enabled"}
    whole = {"apiVersion": "v2", "name": "sip", "version": "1.0.0", "dependencies": [part]}
    shutil.copytree(CHART, tmp_path / "charts" / "evapi-adapter")
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(whole))
    return tmp_path


@pytest.mark.parametrize("enabled", [True, False, None])
def test_the_condition_of_an_umbrella_chart(charts: Charts, umbrella: Path, enabled: bool | None) -> None:
    values = LEAST if enabled is None else {**LEAST, "enabled": enabled}
    found = documents(charts.helm.template(umbrella, {"evapi-adapter": values}, "--kube-version", "1.36.0"))
    assert bool(of(found, "Deployment")) is (enabled is not False)


def test_a_release_of_its_own_is_not_emptied_by_it(charts: Charts) -> None:
    with pytest.raises(HelmError, match="enabled is false, and the chart is rendered"):
        charts.helm.template(CHART, {**LEAST, "enabled": False})
    with pytest.raises(HelmError, match="enabled"):
        charts.helm.template(CHART, {**LEAST, "enabled": "yes"})


def ids(objects: list[Object]) -> list[set[str]]:
    return [IDS & set(pod.spec["securityContext"]) for pod in pods(objects)]


@pytest.mark.parametrize("values", VALUES)
def test_openshift_gives_the_ids_itself(chart: Charts, values: str) -> None:
    objects = chart.render(VALUES[values], *OPENSHIFT)
    assert ids(objects)
    assert not any(ids(objects))
    assert "runAsUser" not in str(objects)
    assert [what for pod in pods(objects) for what in violations(pod, values == "host-network")] == []


@pytest.mark.parametrize(
    ("platform", "options", "given"),
    [
        ("auto", (), True),
        ("auto", OPENSHIFT, False),
        ("kubernetes", OPENSHIFT, True),
        ("openshift", (), False),
    ],
)
def test_the_platform_can_be_said(
    charts: Charts, platform: str, options: tuple[str, ...], given: bool
) -> None:
    found = ids(charts.render({**LEAST, "platform": platform}, *options))
    assert found == [IDS if given else set()] * len(found)


def test_each_id_can_be_another_or_nobodys(charts: Charts, umbrella: Path) -> None:
    own = changed(LEAST, podSecurityContext={"runAsUser": None, "fsGroup": 1_000_650_000})
    found = charts.render(own)
    whole = documents(charts.helm.template(umbrella, {"evapi-adapter": own}, "--kube-version", "1.36.0"))
    for pod in [*pods(found), *pods(whole)]:
        context = pod.spec["securityContext"]
        assert {key: context.get(key) for key in sorted(IDS)} == {
            "fsGroup": 1_000_650_000,
            "runAsGroup": 65532,
            "runAsUser": None,
        }
        assert violations(pod) == []


def test_root_is_refused(charts: Charts) -> None:
    with pytest.raises(HelmError, match="runAsUser"):
        charts.helm.template(CHART, changed(LEAST, podSecurityContext={"runAsUser": 0}))

"""The chart as the tests render it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.harness.helm_binary import Helm, documents

if TYPE_CHECKING:
    from tests.helm.objects import Object

CHART: Final = Path(__file__).parents[2] / "helm" / "evapi-adapter"
EXAMPLES: Final = {path.stem: yaml.safe_load(path.read_text()) for path in CHART.glob("examples/*.yaml")}
KUBERNETES: Final = ("1.27.0", "1.36.0")
LEAST: Final[Object] = {
    "kamailio": {"nodes": "sbc1=192.0.2.10:8448"},
    "rabbitmq": {"existingSecret": "servers"},
    "redis": {"existingSecret": "servers"},
}
DIGEST: Final = "sha256:" + "0123456789abcdef" * 4
EVERYTHING: Final[Object] = {
    **LEAST,
    "rabbitmq": {
        "url": "amqps://u:pass-word@rabbit/?cafile=x",
        "caSecret": "r",
        "apiUrl": "https://rabbit:15671",
    },
    "redis": {"url": "rediss://:pass-word@redis/0", "caSecret": "s"},
    "idKey": {"key": "an-id-key-that-is-long-enough"},
    "settings": {"max_frame": 2_097_152, "lease": 1.5, "journal_payloads": True},
    "traces": {"fraction": 0.5, "endpoint": "http://collector:4318"},
    "networkPolicy": {"ingressFrom": [{"podSelector": {}}], "extraEgress": [{}], "consumersEgress": [{}]},
    "commonLabels": {"team": "voice"},
    "commonAnnotations": {"team": "voice"},
    "metrics": {
        "serviceMonitor": {"enabled": True},
        "rules": {"enabled": True},
        "dashboards": {"enabled": True},
    },
    "extraEnv": [{"name": "EXTRA", "value": "1"}],
    "extraVolumes": [{"name": "extra", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
    "consumers": [
        {
            "name": "plain",
            "module": "a:b",
            "prefetch": 5,
            "existingSecret": "of-plain",
            "settings": {"list": "/app/x"},
            "files": {"a.py": "b = 1\n"},
        },
        {"name": "by-cpu", "module": "a:b", "autoscaling": {"kind": "hpa"}, "http": {"enabled": False}},
        {"name": "byqueue", "module": "a:b", "autoscaling": {"kind": "keda"}, "image": {"digest": DIGEST}},
    ],
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-x"}},
        "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: '{{ .Release.Name }}-y' }\n",
    ],
}
VALUES: Final = {**EXAMPLES, "least": LEAST, "everything": EVERYTHING}


def changed(values: Object, **more: Any) -> Object:
    """The values with some of them changed, whole sections merged by a level."""
    found = dict(values)
    for key, value in more.items():
        found[key] = {**found.get(key, {}), **value} if isinstance(value, dict) else value
    return found


class Charts:
    """What the chart renders, by one helm; each rendering is made once."""

    def __init__(self, helm: Helm) -> None:
        self.helm = helm
        self._named = cache(self._rendered)

    def render(self, values: Object, *options: str, kubernetes: str = KUBERNETES[-1]) -> list[Object]:
        """The objects. Raises HelmError."""
        return documents(self.helm.template(CHART, values, "--kube-version", kubernetes, *options))

    def named(self, name: str, kubernetes: str = KUBERNETES[-1]) -> list[Object]:
        """Those of VALUES of this name. Nobody may change them."""
        return self._named(name, kubernetes)

    def _rendered(self, name: str, kubernetes: str) -> list[Object]:
        return self.render(VALUES[name], kubernetes=kubernetes)

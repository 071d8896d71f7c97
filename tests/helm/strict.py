"""Objects against their schemas: a field or a kind that nobody knows is an error."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import kubernetes_validate as validator
from kubernetes_validate import utils
from kubernetes_validate.utils import SchemaNotFoundError, all_versions
from pydantic import ValidationError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tests.helm.objects import Object

OLDEST: Final = "1.27"
NEWEST: Final = all_versions()[-1].rpartition(".")[0]
"""The newest of which the schemas are known here: at least the newest that the chart is for."""

# It reads a megabyte of definitions again for each object otherwise.
utils.schema_contents = cache(utils.schema_contents)


class Wrong(Exception):
    """The API server would refuse the object, or drop a part of it."""


def check(found: Object, version: str) -> None:
    """Raises Wrong for what a server of this version would not take as it is written."""
    try:
        validator.validate(found, version, strict=True)
    except validator.ValidationError as exc:
        path = ".".join(map(str, exc.absolute_path))
        raise Wrong(f"{found['kind']} {path}: {exc.message}") from exc
    except SchemaNotFoundError:
        _check_custom(found)


def _check_custom(found: Object) -> None:
    model = _models().get((found["apiVersion"], found["kind"]))
    if model is None:
        raise Wrong(f"{found['apiVersion']} {found['kind']}: no such kind")
    try:
        # By way of JSON: only there a strict model takes text for an enumeration.
        model.model_validate_json(json.dumps(found), extra="forbid", strict=True)
    except ValidationError as exc:
        raise Wrong(f"{found['kind']}: {exc}") from exc


@cache
def _models() -> dict[tuple[str, str], type[BaseModel]]:
    # Each takes a second to load, so only who needs them does.
    from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication
    from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule, ServiceMonitor

    kinds: dict[str, tuple[Any, ...]] = {
        "keda.sh/v1alpha1": (ScaledObject, TriggerAuthentication),
        "monitoring.coreos.com/v1": (PodMonitor, PrometheusRule, ServiceMonitor),
    }
    return {(version, model.__name__): model for version, models in kinds.items() for model in models}

"""Looking into what a chart renders: pods, containers, references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Object = dict[str, Any]


class Pod(NamedTuple):
    """A pod, or what pods are made from. ``owner``: the object it is written in, ``Kind/name``."""

    owner: str
    metadata: Object
    spec: Object

    @property
    def labels(self) -> Object:
        """What selectors look at."""
        return self.metadata.get("labels") or {}

    def containers(self) -> Iterator[Object]:
        """All of them, those that run first included."""
        for kind in ("initContainers", "containers"):
            yield from self.spec.get(kind) or ()


def name(found: Object) -> str:
    """``Kind/name``."""
    return f"{found['kind']}/{found['metadata']['name']}"


def of(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """The objects of these kinds."""
    return [found for found in objects if found["kind"] in kinds]


def one(objects: Iterable[Object], kind: str, its: str) -> Object:
    """The object of this kind and name."""
    (found,) = (each for each in of(objects, kind) if each["metadata"]["name"] == its)
    return found


def pods(objects: Iterable[Object]) -> list[Pod]:
    """Every pod that there would be, once each."""
    made = []
    for found in objects:
        if found["kind"] == "Pod":
            made.append(Pod(name(found), found["metadata"], found["spec"]))
        elif "template" in (found.get("spec") or {}):
            template = found["spec"]["template"]
            made.append(Pod(name(found), template["metadata"], template["spec"]))
    return made


def matches(selector: Object, labels: Object) -> bool:
    """Whether a label selector (``matchLabels``, ``matchExpressions``) takes these labels."""
    for label, value in (selector.get("matchLabels") or {}).items():
        if labels.get(label) != value:
            return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions") or ())


def _holds(expression: Object, labels: Object) -> bool:
    value, among = labels.get(expression["key"]), expression.get("values", ())
    match expression["operator"]:
        case "In":
            return value in among
        case "NotIn":
            return value not in among
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case other:
            raise ValueError(f"{other} is no operator of a selector")


def strings(found: Any) -> Iterator[str]:
    """Every text in it, keys included."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(found, list):
        for value in found:
            yield from strings(value)
    elif isinstance(found, str):
        yield found

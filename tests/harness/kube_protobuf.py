"""Secrets and ConfigMaps as Kubernetes' own clients send them: as protobuf, of which this reads enough."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = b"k8s\0"


def is_one(raw: bytes) -> bool:
    """Whether this is such a body."""
    return raw.startswith(_MAGIC)


def decoded(raw: bytes) -> dict[str, Any]:
    """The object. Raises ValueError, KeyError or IndexError for what is none."""
    unknown = dict(_fields(raw[len(_MAGIC) :]))
    about = dict(_fields(unknown[1]))
    kind = about[2].decode()
    found: dict[str, Any] = {"apiVersion": about[1].decode(), "kind": kind, "metadata": {}}
    for number, value in _fields(unknown[2]):
        if number == 1:
            found["metadata"] = _metadata(value)
        elif number == 2:
            entry = dict(_fields(value))
            content = entry.get(2, b"")
            text = base64.b64encode(content).decode() if kind == "Secret" else content.decode()
            found.setdefault("data", {})[entry[1].decode()] = text
        elif number == 3 and kind == "Secret":
            found["type"] = value.decode()
    return found


def _metadata(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(raw):
        if number in (1, 3, 6):
            found[{1: "name", 3: "namespace", 6: "resourceVersion"}[number]] = value.decode()
        elif number in (11, 12):
            entry = dict(_fields(value))
            of = found.setdefault({11: "labels", 12: "annotations"}[number], {})
            of[entry[1].decode()] = entry.get(2, b"").decode()
    return found


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    at = 0

    def number() -> int:
        nonlocal at
        found = shift = 0
        while True:
            byte = raw[at]
            at += 1
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return found

    while at < len(raw):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        elif tag & 7 == 2:
            size = number()
            yield tag >> 3, raw[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {tag & 7} is none that these objects have")

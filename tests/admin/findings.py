"""What doctor's checks are given, and what they find wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter.admin.checks_finding import Finding, Status
from adapter.admin.overview import Overview, Store
from adapter.model.beat import Beat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NODE = "sbc1"


def bad(found: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """Check, of what, and how bad, of all that is not ok; each says why and what to do."""
    wrong = [each for each in found if each.status in (Status.WARNING, Status.ERROR)]
    assert all(each.why and each.todo for each in wrong)
    return [(each.check, each.of, str(each.status)) for each in wrong]


def beat(how: str = "receipts", *, active: bool = True, **more: Any) -> Beat:
    about = {"version": "1", "links": {NODE: how}, "active": [NODE] if active else []}
    return Beat(nodes=frozenset([NODE]), about={**about, **more.pop("about", {})}, **more)


def overview(beats: Mapping[str, Beat], orders: Mapping[str, Any] | None = None) -> Overview:
    return Overview(1.0, Store(0.0, beats, orders or {}))

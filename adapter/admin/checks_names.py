"""Names that clash, by what the replicas say of their links. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.admin import overview as whole
from adapter.cluster.identities import TWO_KAMAILIOS, TWO_NAMES, Clash, clashes

if TYPE_CHECKING:
    from adapter.admin.checks_finding import Finding, Group
    from adapter.admin.overview import Overview

_WHY: Final = {
    TWO_KAMAILIOS: "Calls of both are decided, with 0.1 s more for some; commands reach only one of them. "
    "Without the include (no life) it is not noticed, and calls of one of them are not answered.",
    TWO_NAMES: "Each call is decided under the first name alone; commands and metrics go by both.",
}
_WHY_REPLICAS: Final = "Both work; but commands and people that go by the name reach the one or the other."


def found(overview: Overview) -> list[Clash]:
    """Return every clash between the replicas that live; one that has been replaced is not counted."""
    live = whole.live(overview)
    return clashes({name: beat for name, beat in live.items() if beat.age <= overview.lease})


def check(overview: Overview, group: Group) -> list[Finding]:
    """Return a finding for each clash."""
    return [
        group.error("names", clash.text, _WHY.get(clash.kind, _WHY_REPLICAS), _todo(clash), clash.names[0])
        for clash in found(overview)
    ]


def _todo(clash: Clash) -> str:
    return f"evapi-adapter replicas    # then: {clash.do}"

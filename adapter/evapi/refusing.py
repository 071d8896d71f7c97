"""Why a command cannot be written to a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapter.evapi.link import Link


def refusal(link: Link | None, known: bool) -> str:
    """Tell why a command cannot be written, in words; empty if it can.

    Args:
        link: to the node; None: there is none here.
        known: whether there is a node of this name.
    """
    if link is None or not link.up:
        return "the link to the node is down" if known else "there is no node of this name"
    if not link.gated:
        return "its configuration does not include evapi-adapter.cfg, which carries commands out"
    return "" if link.sound else "the node does not read what is written to it"

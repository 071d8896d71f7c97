"""The ladder of a call's messages, a line each: who sent what to whom, and when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from adapter.sip.message import VERSION
from adapter.terminal import escaped

if TYPE_CHECKING:
    from adapter.sip.message import Message

LANE: Final = 33
"""Columns between two parties."""
MARGIN: Final = 12
"""Columns of the time, before the first party."""


class Party(StrEnum):
    """Who takes part."""

    CALLER = "caller"
    PROXY = "proxy"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Step:
    """One message. ``at``: seconds since the first one."""

    at: float
    sender: Party
    receiver: Party
    message: Message

    @property
    def title(self) -> str:
        """The message in short: ``INVITE sip:4420@127.0.0.1`` or ``403 Forbidden``."""
        return escaped(self.message.first.removeprefix(f"{VERSION} ").removesuffix(f" {VERSION}"))


def head(parties: tuple[Party, ...]) -> str:
    """Return the line above a ladder: the name of each party above its rail."""
    written = ""
    for number, party in enumerate(parties):
        written = written.ljust(MARGIN + number * LANE - len(party) // 2) + party
    return written


def line(step: Step, parties: tuple[Party, ...]) -> str:
    """Draw one message between the rails of ``parties``."""
    places = [MARGIN + number * LANE for number in range(len(parties))]
    canvas = [" "] * (places[-1] + 1)
    for place in places:
        canvas[place] = "|"
    ends = sorted((places[parties.index(step.sender)], places[parties.index(step.receiver)]))
    room = ends[1] - ends[0] - 1
    rightwards = parties.index(step.sender) < parties.index(step.receiver)
    title = step.title.replace(" sip:", " ", 1)
    title = title if len(title) <= room - 6 else f"{title[: room - 8]}.."
    shaft = f" {title} ".ljust(room - 3, "-")
    canvas[ends[0] + 1 : ends[1]] = f"--{shaft}>" if rightwards else f"<-{shaft}-"
    time = f"{step.at * 1000:.1f} ms".rjust(MARGIN - 2)
    return time + "".join(canvas)[MARGIN - 2 :]

"""Commands to Kamailio in the timelines of the calls that they name. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from adapter.admin.timelines import Moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adapter.admin.timelines import Timeline
    from adapter.observe.sink import Commanded


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that is over, ``at`` epoch seconds, and the replica in whose journal it is."""

    replica: str
    at: float
    command: Commanded


def with_commands(found: Sequence[Timeline], commands: Iterable[Ended]) -> list[Timeline]:
    """Put each command into the timeline of its call.

    Of a call's suspensions it is the last that began before the command was over, since it is about the call
    as that left it.

    Args:
        found: the timelines, the earliest first.
        commands: to be told of; those of other calls are left out.

    Returns:
        The timelines in the same order, each with its commands as moments of its own.
    """
    moments = [list(each.moments) for each in found]
    for ended in sorted(commands, key=lambda each: each.at):
        mine = [number for number, each in enumerate(found) if each.call_id == ended.command.call_id]
        begun = [number for number in mine if found[number].moments[0].at <= ended.at]
        if mine:
            moments[(begun or mine[:1])[-1]].append(_moment(ended))
    return [
        replace(each, moments=tuple(sorted(those, key=lambda moment: moment.at)))
        for each, those in zip(found, moments, strict=True)
    ]


def _moment(ended: Ended) -> Moment:
    told = ended.command
    why = f" ({told.detail})" if told.detail else ""
    text = f"command {told.name} of {told.node}: {told.outcome}{why}"
    more = {"replica": ended.replica, "command": told.id, "name": told.name, "outcome": told.outcome}
    return Moment(ended.at, "command", "kamailio", text, told.seconds, more)

"""The lines of the log about commands to Kamailio: those that were not carried out, and why."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import structlog

from adapter.command_contract import CommandOutcome
from adapter.observe.sink import Sink
from adapter.observe.sparse import Sparse

if TYPE_CHECKING:
    from adapter.observe.sink import Commanded

log = structlog.get_logger()

LINES: Final = 20
"""Lines a second about one outcome; of more, the number is told."""


class CommandLog(Sink):
    """Warns of each command that was not carried out; of one that was, if the level is debug."""

    def __init__(self) -> None:
        self._lines: defaultdict[str, Sparse] = defaultdict(lambda: Sparse(LINES))

    def commanded(self, at: float, command: Commanded) -> None:
        """Tell of it. ``not_found`` is no trouble: calls end by themselves."""
        fine = command.outcome in (CommandOutcome.DONE, CommandOutcome.NOT_FOUND)
        if fine and not log.is_enabled_for(logging.DEBUG):
            return
        hidden = None if fine else self._lines[command.outcome].take(at)
        if fine or hidden is not None:
            said = {
                "node": command.node,
                "command": command.name,
                "id": command.id,
                "outcome": command.outcome,
            }
            said |= {"call_id": command.call_id} if command.call_id else {}
            said |= {"reason": command.detail} if command.detail else {}
            seconds = round(command.seconds, 3)
            level = logging.DEBUG if fine else logging.WARNING
            log.log(level, "command", **said, seconds=seconds, not_shown=hidden or None)

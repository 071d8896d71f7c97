"""Metrics of commands to Kamailio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Histogram

from adapter.command_contract import COMMANDS, OWN, CommandOutcome

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

SECONDS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)
"""Upper bounds of how long a command took."""
FRAME: Final = "frame"
"""What a frame is called that was pushed as it is."""


class CommandMetrics:
    """What became of commands, by their name; all that the include does not know are ``own``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ["node", "command", "outcome"]
        self.commands = Counter("evapi_commands", "Commands to Kamailio.", names, registry=registry)
        self.seconds = Histogram(
            "evapi_command_seconds",
            "Seconds from a command's arrival to its outcome.",
            ["command"],
            buckets=SECONDS,
            registry=registry,
        )
        for command in (*COMMANDS, OWN):
            self.seconds.labels(command)

    def begin(self, node: str) -> None:
        """Let a node's counters begin at 0."""
        for command in (*COMMANDS, OWN, FRAME):
            for outcome in CommandOutcome:
                self.commands.labels(node, command, outcome.value)

    def ended(self, node: str, command: str, outcome: CommandOutcome, seconds: float) -> None:
        """A command has its outcome. ``command``: its name; empty: it was a frame, or not understood."""
        self.commands.labels(node, command or FRAME, outcome.value).inc()
        if command:
            self.seconds.labels(command).observe(seconds)

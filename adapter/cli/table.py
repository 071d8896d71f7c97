"""All commands, and where each is: only the module of the one that is asked for is imported.

Otherwise each command would wait for the modules of all, and so would each press of the completion key.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from typer.main import get_group

from adapter.cli.help import Command, Group

if TYPE_CHECKING:
    from collections.abc import Iterator


class Place(NamedTuple):
    """Where a command is: a module here whose ``app`` has it, or is it. ``summary``: as its help begins."""

    module: str
    summary: str


COMMANDS: Final = {
    "run": Place("run", "Run the bridge until SIGTERM, which drains it."),
    "consume": Place(
        "consume",
        "Run services that decide calls, on RabbitMQ, until SIGTERM: MODULE:SERVICE, or webhook.toml.",
    ),
    "call": Place(
        "call", "Make one SIP call over UDP and show its ladder of messages; play the gateway that answers."
    ),
    "bench": Place("bench", "Measure how many calls a second are carried, how fast, at what cost."),
    "check": Place("check", "Say whether all is well, within 3 seconds: for cron and monitoring."),
    "top": Place(
        "top", "Show calls, outcomes, latency, nodes, replicas, services and dead letters, live; q ends it."
    ),
    "doctor": Place(
        "doctor", "Look at settings, Redis, RabbitMQ, replicas, nodes and services, within 3 seconds."
    ),
    "trace": Place(
        "trace", "Show what became of a call: each step from Kamailio to Kamailio, with what it took."
    ),
    "tail": Place("tail", "Show events and outcomes as they come, of all replicas, until Ctrl-C."),
    "replicas": Place(
        "overview", "List the replicas: state, nodes for which each is the active one, broker, last beat."
    ),
    "nodes": Place(
        "overview", "List the nodes (Kamailios): active replica, links, calls in flight and the oldest, gate."
    ),
    "conformance": Place(
        "conformance", "Play calls at a running consumer, in any language, and say what it does wrong."
    ),
    "drain": Place(
        "control",
        "Let a replica take no more calls: others take over its nodes, what it has in flight ends as usual.",
    ),
    "pause": Place(
        "control",
        "Let no replica take calls of a node: its health gate closes, so that it decides by itself.",
    ),
    "resume": Place("control", "Take `drain` or `pause` back."),
    "send": Place("send", "Push a command to Kamailio, or ask the services a test question."),
    "replay": Place(
        "replay", "Ask a candidate about calls that are over, and tell where it decides otherwise."
    ),
    "new": Place(
        "new", "Write a folder with a typed Python service, its test, Dockerfile, chart values and README."
    ),
    "kamailio-cfg": Place(
        "kamailio_cfg",
        "Print one of the Kamailio configurations that come with the adapter, or write all into a folder.",
    ),
    "systemd-unit": Place(
        "systemd_unit",
        "Print one of the units for systemd that come with the adapter, or write both into a folder.",
    ),
    "inflight": Place("inflight", "The calls that wait for a decision: list, show, settle by hand."),
    "services": Place("services", "List the services that decide, with what is wrong with each."),
    "dead-letters": Place("dead_letters", "What died on the way, and why: list, show, replay, purge."),
    "topology": Place("topology", "Exchanges, queues and bindings as they should be, and as they are."),
    "kamailio": Place("kamailio", "Have Kamailio do something: evapi-adapter-commands.cfg carries it out."),
    "context": Place("context", "Which installation the commands ask: add, use, list, remove."),
    "settings": Place("settings", "What is in force, and where it comes from."),
    "policy": Place(
        "policy", "What counts for each event, whether a file is good, and what happens to an event."
    ),
}
"""In the order in which the help lists them."""


class Loaded(Mapping[str, Any]):
    """The commands by name. Each is made when it is looked up for the first time."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            group = get_group(import_module(f"adapter.cli.{COMMANDS[name].module}").app)
            self._made |= {group.name: group} if group.name else group.commands
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Root(Group):
    """The command that has all commands."""

    commands: Any

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.commands = Loaded()

    def list_commands(self, ctx: Any) -> list[str]:
        """Return their names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, name: str) -> Any:
        """Return what lists show of a command, in help and in completion: nothing is imported for it."""
        place = COMMANDS.get(name)
        return place and Command(name=name, help=place.summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is to be run: its module is imported."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, self.commands.get(name), rest

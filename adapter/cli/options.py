"""What the commands of an operator share: their options, and how they reach the servers."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from adapter.cli.output import Format
from adapter.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from adapter.admin.running import RunningAdapter
    from adapter.inflight.operator import OperatorStore
    from adapter.ports.inspection import Inspection
    from adapter.settings import Settings

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds that a server has to answer an operator."""
INTERRUPTED: Final = 130
"""The exit code after Ctrl-C."""
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h)?")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

Nodes = Annotated[
    str | None,
    typer.Option(
        envvar="EVAPI_NODES",
        help="Kamailio's EVAPI ports, separated by commas: name=host:port, dns://host:port, dns+srv://name",
    ),
]
AmqpUrl = Annotated[str | None, typer.Option(envvar="EVAPI_AMQP_URL", help="RabbitMQ.")]
AmqpApi = Annotated[
    str | None,
    typer.Option(
        envvar="EVAPI_AMQP_API",
        help="RabbitMQ's management plugin. [default: the AMQP URL's host and user, port 15672]",
    ),
]
RedisUrl = Annotated[str | None, typer.Option(envvar="EVAPI_REDIS_URL", help="Redis.")]
PolicyFile = Annotated[str | None, typer.Option(envvar="EVAPI_POLICY", help="The policy's TOML file.")]
More = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting: redis_prefix=evapi.",
        autocompletion=lambda: _names_to_set(),
    ),
]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why you do it; others see it.")]
As = Annotated[Format, typer.Option("--output", "-o", help="How data is printed.")]


def _names_to_set() -> list[str]:
    from adapter.cli import complete  # which asks servers as commands do, by this module

    return complete.settings()


def pair(given: str) -> tuple[str, str]:
    """Read NAME=VALUE. Raises SettingsError."""
    name, equals, value = given.partition("=")
    if not equals or not name.isidentifier():
        raise SettingsError("--set", "takes NAME=VALUE, such as lease=2")
    return name.lower(), value


def settings(more: list[str] | None = None, **flags: Any) -> Settings:
    """The settings as the adapter would have them. Raises SettingsError."""
    from adapter.settings import load

    for name, value in map(pair, more or ()):
        if name in flags:
            raise SettingsError("--set", f"give {name} by its own flag, --{name.replace('_', '-')}")
        flags[name] = value
    return load(bridge=False, **flags)


def calls_of(chosen: Settings) -> Inspection:
    """Who tells of the calls: Redis, or the adapter without Redis that runs here. Raises SettingsError."""
    return redis(chosen) if chosen.redis_url is not None else running(chosen)


def running(chosen: Settings) -> RunningAdapter:
    """The adapter without Redis that runs here, at EVAPI_HTTP. Raises SettingsError where there is none."""
    from adapter.admin.running import RunningAdapter, runs

    if not runs(chosen.http.port):
        raise SettingsError(
            "EVAPI_REDIS_URL",
            "is not set: this asks Redis, or an adapter without it that runs on this machine as this user; "
            f"with port {chosen.http.port} (EVAPI_HTTP) there is none",
        )
    return RunningAdapter(chosen.http.port)


def embedded(chosen: Settings) -> bool:
    """Whether the broker that is meant is that of an adapter which runs here: no RabbitMQ is named."""
    from adapter.admin.running import runs

    return chosen.amqp_url is None and chosen.redis_url is None and runs(chosen.http.port)


def redis(chosen: Settings) -> OperatorStore:
    """The store of all replicas. Raises SettingsError where there is none but each adapter's own."""
    from adapter.inflight.operator import OperatorStore

    if chosen.redis_url is None:
        raise SettingsError(
            "EVAPI_REDIS_URL",
            "is not set: this asks Redis. An adapter without it keeps what is in flight to itself",
        )
    return OperatorStore(
        chosen.redis_url.get_secret_value(),
        f"{who()}~cli",
        prefix=chosen.redis_prefix,
        retention=chosen.retention,
        timeout=PATIENCE,
    )


def amqp(chosen: Settings) -> str:
    """RabbitMQ's URL, or several. Raises SettingsError where none is set."""
    if chosen.amqp_url is None:
        raise SettingsError("EVAPI_AMQP_URL", "is not set: this asks RabbitMQ")
    return chosen.amqp_url.get_secret_value()


def who() -> str:
    """The operator, for what is recorded: user@host."""
    import getpass
    import socket

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do it. Ctrl-C ends it with exit code 130 and no traceback."""
    import asyncio

    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def duration(text: str) -> float:
    """A time such as 200ms, 1.5s, 2m or 1h in seconds; a bare number is seconds."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no time: write 200ms, 1.5s, 2m or 1h")
    return float(found[1]) * _UNITS[found[2] or "s"]

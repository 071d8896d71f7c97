"""``evapi-adapter run``: the bridge itself."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from adapter.cli.help import Commands
from adapter.cli.options import pair
from adapter.errors import SettingsError

app = Commands()

EPILOG: Final = (
    "Examples:  evapi-adapter run --consumer consumers.least_cost:service    "
    "evapi-adapter run --nodes sbc1=10.0.0.5:8448 --amqp-url amqp://rabbit --redis-url redis://redis"
)
NODES = (
    "Kamailio's EVAPI ports, separated by commas: name=host:port, dns://host:port, dns+srv://name "
    "[default: 127.0.0.1:8448]"
)
BETTER = "With a password better by the variable, or by {}_FILE: a file that holds it."
AMQP_URL = (
    f"RabbitMQ, several separated by commas. {BETTER.format('EVAPI_AMQP_URL')} [default: the embedded broker]"
)
REDIS_URL = f"Redis. {BETTER.format('EVAPI_REDIS_URL')} [default: the embedded store]"
CONSUMER = "What the embedded broker runs; may be repeated.  [env var: EVAPI_CONSUMER]"
POLICY = "A TOML file: who decides each event, deadlines, fallbacks, limits. It is followed."
HTTP = "Where /livez, /readyz and /metrics are served. [default: 127.0.0.1:9464]"
REPLICA = "This replica's name. [default: host name and process id]"
LOG = "json or console, and a level: json,debug. [default: by terminal, info]"
MORE = "Any other setting: lease=2 is EVAPI_LEASE=2."


def _option(name: str, help: str) -> Any:  # noqa: A002
    return typer.Option(envvar=f"EVAPI_{name}", help=help)


@app.command(epilog=EPILOG)
def run(
    nodes: Annotated[str | None, _option("NODES", NODES)] = None,
    amqp_url: Annotated[str | None, _option("AMQP_URL", AMQP_URL)] = None,
    redis_url: Annotated[str | None, _option("REDIS_URL", REDIS_URL)] = None,
    consumer: Annotated[list[str] | None, typer.Option(metavar="MODULE:SERVICE", help=CONSUMER)] = None,
    policy: Annotated[str | None, _option("POLICY", POLICY)] = None,
    http: Annotated[str | None, _option("HTTP", HTTP)] = None,
    replica: Annotated[str | None, _option("REPLICA", REPLICA)] = None,
    log: Annotated[str | None, _option("LOG", LOG)] = None,
    more: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=MORE)] = None,
) -> None:
    """Run the bridge until SIGTERM, which drains it."""
    from adapter import app as bridge
    from adapter import settings

    flags: dict[str, Any] = {"nodes": nodes, "amqp_url": amqp_url, "redis_url": redis_url}
    flags |= {"policy": policy, "http": http, "replica": replica, "log": log, "consumer": consumer or None}
    for name, value in map(pair, more or ()):
        if name in flags:
            raise SettingsError("--set", f"give {name} by its own flag, --{name.replace('_', '-')}")
        flags[name] = value
    bridge.main(settings.load(**flags))

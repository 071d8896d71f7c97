"""``evapi-adapter``: exit codes 0 done, 1 failed while running, 2 wrong usage or settings.

Imports are inside the commands: ``--help`` must not wait for aio-pika and Redis.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from adapter.cli import (
    call,
    check,
    conformance,
    consume,
    context,
    contexts,
    control,
    dead_letters,
    doctor,
    inflight,
    kamailio,
    kamailio_cfg,
    new,
    overview,
    replay,
    send,
    services,
    settings,
    systemd_unit,
    tail,
    top,
    topology,
    trace,
)
from adapter.cli import policy as policies
from adapter.cli.bench import EPILOG, bench
from adapter.cli.help import Commands
from adapter.cli.options import pair
from adapter.errors import AdapterError, SettingsError

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

URLS = ("--amqp-url", "--redis-url", "--amqp-api")

app = Commands(
    name="evapi-adapter",
    help="The bridge between Kamailio's EVAPI module and RabbitMQ.",
    epilog="Examples:  evapi-adapter run --consumer consumers.least_cost:service    evapi-adapter call 4420",
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"evapi-adapter {version('evapi-adapter')}")
        raise typer.Exit


@app.callback()
def _common(
    command: typer.Context,
    named: Annotated[
        str | None,
        typer.Option(
            "--context",
            envvar=contexts.VARIABLE,
            metavar="NAME",
            help="Ask the installation of this context; `context list` has them.",
            autocompletion=context.names,
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if command.invoked_subcommand != context.app.info.name:
        contexts.apply(named or None, command.invoked_subcommand)


def _option(name: str, help: str) -> Any:  # noqa: A002
    return typer.Option(envvar=f"EVAPI_{name}", help=help)


@app.command(
    epilog="Examples:  evapi-adapter run --consumer consumers.least_cost:service    "
    "evapi-adapter run --nodes sbc1=10.0.0.5:8448 --amqp-url amqp://rabbit --redis-url redis://redis"
)
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


app.command(context_settings=consume.CONTEXT, add_help_option=False)(consume.consume)
app.command(epilog=call.EPILOG)(call.call)
app.command(epilog=EPILOG)(bench)
app.command(epilog=check.EPILOG, cls=check.Check)(check.check)
app.command(epilog=top.EPILOG)(top.top)
app.command(epilog=doctor.EPILOG)(doctor.doctor)
app.add_typer(inflight.app)
app.command(epilog=trace.EPILOG)(trace.trace)
app.command(epilog=tail.EPILOG)(tail.tail)
app.command(epilog=overview.EPILOG_REPLICAS)(overview.replicas)
app.command(epilog=overview.EPILOG_NODES)(overview.nodes)
app.add_typer(services.app)
app.command(epilog=conformance.EPILOG)(conformance.conformance)
app.add_typer(dead_letters.app)
app.add_typer(topology.app)
app.command(epilog=control.EPILOG_DRAIN)(control.drain)
app.command(epilog=control.EPILOG_PAUSE)(control.pause)
app.command(epilog=control.EPILOG_RESUME)(control.resume)
app.command(epilog=send.EPILOG)(send.send)
app.add_typer(kamailio.app)
app.command(epilog=replay.EPILOG)(replay.replay)
app.add_typer(context.app)
app.add_typer(settings.app)
app.add_typer(policies.app)
app.command(epilog=new.EPILOG)(new.new)


app.command("kamailio-cfg", epilog=kamailio_cfg.EPILOG)(kamailio_cfg.kamailio_cfg)
app.command("systemd-unit", epilog=systemd_unit.EPILOG)(systemd_unit.systemd_unit)


def main() -> None:
    """Run the command line. Errors end in a sentence and an exit code, not in a traceback."""
    try:
        _hide_passwords()
        app(prog_name="evapi-adapter")
    except SettingsError as exc:
        typer.echo(f"evapi-adapter: {exc}", err=True)
        sys.exit(2)
    except AdapterError as exc:
        typer.echo(f"evapi-adapter: {exc}", err=True)
        sys.exit(1)


def _hide_passwords() -> None:
    """Begin again without the passwords on the command line. Raises SettingsError for a misplaced one."""
    if not any("@" in word or "password=" in word.lower() for word in sys.argv[1:]):
        return  # none of them is a URL with a password: the rest need not be imported for that
    from consumers.command_line import MisplacedPassword, hide_passwords

    try:
        flags = {name: f"EVAPI_{name[2:].replace('-', '_').upper()}" for name in URLS}
        hide_passwords(flags)
    except MisplacedPassword as exc:
        typer.echo(f"evapi-adapter: {exc}", err=True)
        sys.exit(2)

"""``evapi-adapter``: exit codes 0 done, 1 failed while running, 2 wrong usage or settings.

Imports are inside the commands: ``--help`` must not wait for aio-pika and Redis. The module of a command is
imported once that command is asked for (see ``adapter.cli.table``).
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated, Final

import typer

from adapter.cli import contexts
from adapter.cli.help import Commands
from adapter.cli.table import Root
from adapter.errors import AdapterError, SettingsError

COMPLETING: Final = "_EVAPI_ADAPTER_COMPLETE"
"""The variable by which the shell asks for completion."""
URLS = ("--amqp-url", "--redis-url", "--amqp-api")

app = Commands(
    name="evapi-adapter",
    help="The bridge between Kamailio's EVAPI module and RabbitMQ.",
    epilog="Examples:  evapi-adapter run --consumer consumers.least_cost:service    evapi-adapter call 4420",
    cls=Root,
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
            autocompletion=contexts.names,
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if command.invoked_subcommand != contexts.COMMAND:
        contexts.apply(named or None, command.invoked_subcommand)


def main() -> None:
    """Be the process ``evapi-adapter``.

    If it only completes a word, it leaves without taking Python's modules down: that is a quarter of its CPU.
    """
    if COMPLETING not in os.environ:
        return execute()
    gc.disable()  # nor is there time to look for what can be freed
    try:
        execute()
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(int(end.code or 0))


def execute() -> None:
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

"""``evapi-adapter context``: which installation the commands ask."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from adapter.cli import contexts, listing, options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output
from adapter.errors import SettingsError

EPILOG: Final = (
    "Examples:  evapi-adapter context add production redis_url=redis://redis amqp_url_file=~/.amqp    "
    "evapi-adapter context use production    evapi-adapter --context test top"
)
EPILOG_ADD: Final = (
    "Examples:  evapi-adapter context add test redis_url=redis://127.0.0.1 amqp_url_env=TEST_AMQP_URL    "
    "evapi-adapter context add production amqp_url_file=~/.secrets/production nodes=sbc1=10.0.0.5:8448"
)
EPILOG_USE: Final = "Examples:  evapi-adapter context use production    evapi-adapter context use --none"
EPILOG_LIST: Final = "Example:  evapi-adapter context list -o json"
EPILOG_REMOVE: Final = "Example:  evapi-adapter context remove test"

COLUMNS: Final = (
    Column("in_use", "", lambda used: "*" if used else ""),
    Column("context", "CONTEXT", style="bold"),
    Column("settings", "SETTINGS", lambda found: "  ".join(f"{key}={value}" for key, value in found.items())),
)

app = Commands(
    name=contexts.COMMAND,
    help="Which installation the commands ask: add, use, list, remove.",
    epilog=EPILOG,
)

Name = Annotated[str, typer.Argument(metavar="NAME", autocompletion=contexts.names)]


@app.command(epilog=EPILOG_ADD)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    settings: Annotated[
        list[str], typer.Argument(metavar="SETTING=VALUE...", help="As of `evapi-adapter settings show`.")
    ],
) -> None:
    """Add a context, or give one other settings.

    Passwords are not kept: SETTING_file names a file that holds the value, SETTING_env an environment
    variable. What is in the environment, or given by flag, wins over a context. Exit codes: 0 done, 1 the
    file cannot be written, 2 wrong usage.
    """
    if not contexts.NAME.fullmatch(name):
        raise SettingsError("NAME", f"{name!r} is no name: letters, digits, . _ and -")
    in_use, found = contexts.read()
    found[name] = dict(map(contexts.pair, settings))
    contexts.write(in_use or name, found)
    typer.echo(f"{contexts.path()}: {name}{'' if in_use else ', in use from now on'}", err=True)


@app.command(epilog=EPILOG_USE)
def use(
    name: Annotated[str | None, typer.Argument(metavar="NAME", autocompletion=contexts.names)] = None,
    none: Annotated[bool, typer.Option("--none", help="None of them.")] = False,
) -> None:
    """Have the operator's commands ask this one from now on.

    `run`, `consume` and `bench` take a context by --context alone. Exit codes: 0 done, 1 the file cannot be
    written, 2 wrong usage.
    """
    if (name is None) != none:
        raise SettingsError("context use", "takes NAME, or --none")
    _, found = contexts.read()
    if name is not None and name not in found:
        raise SettingsError("NAME", f"there is no context {name!r}: there are {', '.join(found) or 'none'}")
    contexts.write(name or "", found)


@app.command("list", epilog=EPILOG_LIST)
def list_(sort: listing.Sort = "", watch: listing.Watch = None, output: options.As = Format.TABLE) -> None:
    """List the contexts; * marks the one in use. Exit codes: 0 listed, 2 their file is wrong."""
    out = Output(output)

    def look() -> None:
        in_use, found = contexts.read()
        rows: list[dict[str, Any]] = [
            {"context": name, "in_use": name == in_use, "settings": settings}
            for name, settings in found.items()
        ]
        none = "none yet: evapi-adapter context add NAME SETTING=VALUE"
        out.rows(COLUMNS, listing.ordered(rows, sort, COLUMNS), none)

    listing.repeat(look, out, watch)


@app.command(epilog=EPILOG_REMOVE)
def remove(name: Name) -> None:
    """Remove a context. Exit codes: 0 done, 1 the file cannot be written, 2 there is none of this name."""
    in_use, found = contexts.read()
    if found.pop(name, None) is None:
        raise SettingsError("NAME", f"there is no context {name!r}: there are {', '.join(found) or 'none'}")
    contexts.write("" if in_use == name else in_use, found)

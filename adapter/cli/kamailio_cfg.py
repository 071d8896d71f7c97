"""``evapi-adapter kamailio-cfg``: the Kamailio configurations that come along, to see or into a folder."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from adapter.cli import complete
from adapter.cli.help import Commands

app = Commands()

EPILOG: Final = (
    "Examples:  evapi-adapter kamailio-cfg ./proxy    "
    "evapi-adapter kamailio-cfg evapi-adapter.cfg > /etc/kamailio/evapi-adapter.cfg"
)


@app.command(epilog=EPILOG)
def kamailio_cfg(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.configurations,
            metavar="NAME|FOLDER",
            help="Which one to print, or a folder, with a /, to write all into; without it they are listed.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that differ.")] = False,
) -> None:
    """Print one of the Kamailio configurations that come with the adapter, or write all into a folder.

    kamailio.cfg is a complete proxy that loads as it is. Exit codes: 0 done, 1 a file cannot be written, or
    is there and differs, 2 wrong usage.
    """
    from adapter import kamailio
    from adapter.cli.shipped import shipped

    texts = {known: kamailio.read(known) for known in kamailio.names()}
    if shipped(texts, name, force, kamailio.read):
        typer.echo(f"Next: kamailio -f {str(name).rstrip('/')}/kamailio.cfg -DD -E", err=True)

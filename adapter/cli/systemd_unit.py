"""``evapi-adapter systemd-unit``: the units that come along, to see or into a folder."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from adapter.cli import complete
from adapter.cli.help import Commands

app = Commands()

EPILOG: Final = (
    "Examples:  evapi-adapter systemd-unit /etc/systemd/system    "
    "evapi-adapter systemd-unit evapi-adapter.service"
)


@app.command(epilog=EPILOG)
def systemd_unit(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.units,
            metavar="NAME|FOLDER",
            help="Which one to print, or a folder, with a /, to write both into; without it they are listed.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that differ.")] = False,
) -> None:
    """Print one of the units for systemd that come with the adapter, or write both into a folder.

    They start /opt/evapi-adapter/bin/evapi-adapter, with a user of its own. Exit codes: 0 done, 1 a file
    cannot be written, or is there and differs, 2 wrong usage.
    """
    from adapter import systemd
    from adapter.cli.shipped import shipped

    texts = {known: systemd.read(known) for known in systemd.names()}
    if shipped(texts, name, force, systemd.read):
        typer.echo("Next: systemctl daemon-reload; systemctl enable --now evapi-adapter", err=True)

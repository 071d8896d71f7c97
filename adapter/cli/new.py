"""``evapi-adapter new``: a service of one's own, to begin with."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from adapter.cli.help import Commands
from adapter.errors import AdapterError, SettingsError

app = Commands()

EPILOG: Final = "Example:  evapi-adapter new my-service && cd my-service && pip install -e '.[dev]' && pytest"


@app.command(epilog=EPILOG)
def new(
    name: Annotated[
        str, typer.Argument(help="Small letters, digits and -: the folder's and the image's name.")
    ],
) -> None:
    """Write a folder with a typed Python service, its test, Dockerfile, chart values and README."""
    from pathlib import Path

    from consumers.new import NameRefused, create

    try:
        written = create(name, Path.cwd())
    except NameRefused as exc:
        raise SettingsError("NAME", str(exc)) from exc
    except OSError as exc:
        raise AdapterError(f"{name} cannot be written: {exc.strerror}") from exc
    for path in written:
        typer.echo(path)
    typer.echo(f"Next: cd {name} && pip install -e '.[dev]' && pytest", err=True)

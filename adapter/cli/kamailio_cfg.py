"""``evapi-adapter kamailio-cfg``: the Kamailio configurations that come along, to see or into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from adapter.errors import AdapterError, SettingsError

EPILOG: Final = (
    "Examples:  evapi-adapter kamailio-cfg ./proxy    "
    "evapi-adapter kamailio-cfg evapi-adapter.cfg > /etc/kamailio/evapi-adapter.cfg"
)
_SUFFIX: Final = ".cfg"


def kamailio_cfg(
    name: Annotated[
        str | None,
        typer.Argument(
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

    if name is None:
        for known in kamailio.names():
            typer.echo(known)
        return
    try:
        typer.echo(kamailio.read(name), nl=False)
    except KeyError:
        if name.endswith(_SUFFIX) or not ("/" in name or Path(name or _SUFFIX).is_dir()):
            told = (
                f"{name!r} is none of {', '.join(kamailio.names())}; a folder is written ./{name or 'proxy'}"
            )
            raise SettingsError("NAME", told) from None
        _write(Path(name), force)


def _write(folder: Path, force: bool) -> None:
    from adapter import kamailio

    texts = {folder / name: kamailio.read(name) for name in kamailio.names()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        other = [path for path, text in texts.items() if path.exists() and path.read_text() != text]
        if other and not force:
            raise AdapterError(
                f"{', '.join(map(str, other))}: there already, and not the same; name another folder, "
                f"or give --force to write over it"
            )
        for path, text in texts.items():
            path.write_text(text)
            typer.echo(path)
    except OSError as exc:
        raise AdapterError(f"{folder}: cannot be written: {exc.strerror or exc}") from exc
    typer.echo(f"Next: kamailio -f {folder / 'kamailio.cfg'} -DD -E", err=True)

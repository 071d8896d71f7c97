"""Files that come with the adapter: listed, printed, or written into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adapter.errors import AdapterError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def shipped(texts: Mapping[str, str], wanted: str | None, force: bool, read: Callable[[str], str]) -> bool:
    """List them, print one, or write all.

    Args:
        texts: each file's text, by its name.
        wanted: None: list them; a name: print that one; what has a ``/`` or is a folder: write them there.
        force: write over files that differ.
        read: gives the text for a name as users may give it; raises KeyError.

    Returns:
        Whether they were written.

    Raises:
        SettingsError: It is no name.
        AdapterError: A file cannot be written, or differs from the one that is there.
    """
    if wanted is None:
        for known in texts:
            typer.echo(known)
        return False
    try:
        typer.echo(read(wanted), nl=False)
        return False
    except KeyError:
        pass
    misspelt = any(wanted.endswith(Path(name).suffix) for name in texts)
    if misspelt or not ("/" in wanted or (wanted and Path(wanted).is_dir())):
        told = f"{wanted!r} is none of {', '.join(texts)}; a folder is written ./{wanted or 'folder'}"
        raise SettingsError("NAME", told)
    _write(Path(wanted), texts, force)
    return True


def _write(folder: Path, texts: Mapping[str, str], force: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {folder / name: text for name, text in texts.items()}
        other = [path for path, text in there.items() if path.exists() and path.read_text() != text]
        if other and not force:
            raise AdapterError(
                f"{', '.join(map(str, other))}: there already, and not the same; name another folder, "
                f"or give --force to write over it"
            )
        for path, text in there.items():
            path.write_text(text)
            typer.echo(path)
    except OSError as exc:
        raise AdapterError(f"{folder}: cannot be written: {exc.strerror or exc}") from exc

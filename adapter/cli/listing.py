"""What every command that lists things takes: since when, in which order, and whether it looks again."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import options
from adapter.cli.output import Format
from adapter.errors import AdapterError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from adapter.cli.output import Column, Output

LEAST: Final = 0.1
"""Seconds between two looks, at least: the servers have better things to do."""
BACKWARDS: Final = "-"
"""Before a column: the largest first."""


Since = Annotated[
    float | None,
    typer.Option("--since", parser=options.duration, metavar="TIME", help="Only what is younger: 30s, 10m."),
]
Sort = Annotated[
    str,
    typer.Option("--sort", metavar="COLUMN", help="In the order of this column; -COLUMN: the largest first."),
]
Watch = Annotated[
    float | None,
    typer.Option(
        "--watch",
        parser=options.duration,
        metavar="TIME",
        help="Look again after this time (2s), until Ctrl-C.",
    ),
]


def ordered(rows: Iterable[Mapping[str, Any]], by: str, columns: Sequence[Column]) -> list[Mapping[str, Any]]:
    """Sort rows as ``--sort`` says; what has no value comes last.

    Args:
        rows: to be sorted; they stay as they are if nothing is said.
        by: the title of a column, or the key that it has in JSON; with a ``-`` before it, backwards.
        columns: of the table.

    Raises:
        SettingsError: No row has such a column.
    """
    found = list(rows)
    if not by:
        return found
    names = {_plain(column.title): column.key for column in columns if column.title}
    names |= {key: key for row in found for key in row}
    key = names.get(_plain(by.removeprefix(BACKWARDS)))
    if key is None:
        raise SettingsError("--sort", f"{by!r} is no column: there are {', '.join(sorted(names))}")
    having = [row for row in found if row.get(key) is not None]
    having.sort(key=lambda row: _rank(row[key]), reverse=by.startswith(BACKWARDS))
    return [*having, *(row for row in found if row.get(key) is None)]


def _plain(title: str) -> str:
    return title.lower().replace(" ", "_")


def _rank(value: Any) -> tuple[int, float, str]:
    """Numbers before words, whatever a column mixes."""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, str(value).lower()


def repeat(look: Callable[[], None], out: Output, every: float | None) -> None:
    """Look once; with ``--watch`` again and again, until Ctrl-C.

    On a terminal each look takes the place of the one before. A server that is away after the first look is
    told, and waited for.

    Args:
        look: asks, and prints.
        out: is what it prints to.
        every: seconds between two looks; None: one look only.

    Raises:
        SettingsError: The time is too short, or what is printed has an end.
        AdapterError: What the first look raises.
    """
    if every is not None and every < LEAST:
        raise SettingsError("--watch", f"is a time of {LEAST * 1000:g}ms at least")
    if every is not None and out.format is Format.JSON:
        raise SettingsError("--output", "is table or jsonl: what goes on has no end that JSON could have")
    look()
    while every is not None:
        try:
            time.sleep(every)
        except KeyboardInterrupt:
            raise typer.Exit(options.INTERRUPTED) from None
        if out.format is Format.TABLE and sys.stdout.isatty():
            out.renew()
        try:
            look()
        except AdapterError as exc:
            out.say(f"evapi-adapter: {exc}")

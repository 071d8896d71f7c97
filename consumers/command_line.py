"""Keeps passwords out of the process list, where everybody on the machine reads command lines."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CREDENTIALS = re.compile(r"@|password=", re.IGNORECASE)
"""In what is meant as a URL: whether it is a good one, others decide."""
_URL_WITH_PASSWORD = re.compile(r"://[^@]*:[^@]*@|[?&]\w*password=", re.IGNORECASE)


class MisplacedPassword(ValueError):
    """An argument that is no URL's holds one with a password. It is not quoted."""


def hide_passwords(flags: Mapping[str, str]) -> None:
    """Where a URL on the command line has a password, begin again with that URL in the environment.

    flags: the variable of each flag that takes a URL. The process stays the same, with its id, so
    nobody who supervises it notices. Returns where there is nothing to hide.
    Raises MisplacedPassword for a password anywhere else, since a parser would show it.
    """
    given = sys.argv[1:]
    kept, moved = take_out(given, flags)
    if any(map(_URL_WITH_PASSWORD.search, kept)):
        raise MisplacedPassword(f"a URL with a password belongs into {' or '.join(flags.values())}")
    if not moved:
        return
    before = sys.orig_argv[: len(sys.orig_argv) - len(given)]
    if [*before, *given] != sys.orig_argv:
        return  # called by another program, whose command line is its own affair
    variables = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in moved}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *before[1:], *kept], variables | moved)


def take_out(arguments: Sequence[str], flags: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The arguments without the flags, and the last value of each by its variable.

    All the arguments and nothing, where none of the values has a password.
    """
    kept: list[str] = []
    values: list[str] = []
    moved: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument == "--":
            kept += argument, *rest
        elif name not in flags:
            kept.append(argument)
        elif (found := value if equals else next(rest, None)) is None:
            kept.append(argument)  # without a value: the parser says so
        else:
            values.append(found)
            moved[flags[name]] = found
    if not any(map(_CREDENTIALS.search, values)):
        return list(arguments), {}
    return kept, {name: value for name, value in moved.items() if value}

"""How the commands help: summaries that end, and an example a line."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final

from typer import Typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WORD: Final = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+""")
_GOES_ON: Final = " \\"
_INDENT: Final = "  "


def summary(help: str | None) -> str:  # noqa: A002
    """Return the first sentence of a help text, whole."""
    first = inspect.cleandoc(help or "").partition("\n\n")[0]
    return " ".join(first.split()).partition(". ")[0].removesuffix(".") + "." if first else ""


def examples(epilog: str, width: int) -> Iterator[str]:
    """Lay out ``Examples:  ONE    TWO``: a line each; one that is too long goes on as shells read it."""
    head, *commands = re.split(r" {2,}", epilog)
    yield head
    for command in commands:
        line = _INDENT
        for word in _WORD.findall(command):
            if line.strip() and len(line) + 1 + len(word) + len(_GOES_ON) > width:
                yield line + _GOES_ON
                line = _INDENT * 3
            line += word if line.isspace() else f" {word}"
        yield line


class _Helps:
    epilog: str | None
    help: str | None
    hidden: bool

    def get_short_help_str(self, limit: int = 0) -> str:
        """The first sentence: the list of commands wraps it, and cuts nothing."""
        return summary(self.help)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        if self.epilog:
            formatter.write_paragraph()
            for line in examples(self.epilog, formatter.width):
                formatter.write(f"{line}\n")


class Command(_Helps, TyperCommand):
    """A command."""


class Group(_Helps, TyperGroup):
    """A command that has commands."""


class Commands(Typer):
    """Typer's, with this help for each of its commands. Without a name they stand at the root."""

    def __init__(self, name: str = "", help: str | None = None, **more: Any) -> None:  # noqa: A002
        given: Any = {"help": help} if help else {}
        given |= {"cls": Group, "no_args_is_help": True, "rich_markup_mode": None, **more}
        super().__init__(name=name, **given)

    def command(self, name: str | None = None, **more: Any) -> Callable[[Any], Any]:
        """As Typer's."""
        return super().command(name, **{"cls": Command, **more})

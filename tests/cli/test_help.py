"""What each command helps with: examples that can be copied, words and summaries that are whole."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command, get_group

from adapter.cli.help import examples, summary
from adapter.cli.main import app
from adapter.cli.table import COMMANDS
from tests.cli.command import evapi_adapter

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHERS = {("consume",)}
"""Its help is that of `python -m consumers`."""


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, (*words, name))


ALL = dict(commands(get_command(app)))


@pytest.mark.parametrize("words", [words for words in ALL if words not in OTHERS], ids=" ".join)
def test_words_are_whole_and_examples_a_line_each(words: tuple[str, ...]) -> None:
    command = ALL[words]
    code, out, err = evapi_adapter(*words, "--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    flat = " ".join(out.split())
    for parameter in command.params:
        told = " ".join((getattr(parameter, "help", None) or "").split())
        assert told in flat, parameter.name
    if not command.epilog:
        return
    assert "\nExample" in out, "it gives examples"
    shown = out[out.rindex("\nExample") :]
    whole = re.sub(r" \\\n +", " ", shown).strip().splitlines()
    assert [line.strip() for line in whole] == re.split(r" {2,}", command.epilog)
    assert all("evapi-adapter" in line for line in whole[1:])


@pytest.mark.parametrize(
    "words", [words for words, command in ALL.items() if hasattr(command, "commands")], ids=" ".join
)
def test_summaries_end(words: tuple[str, ...]) -> None:
    out = " ".join(evapi_adapter(*words, "--help").out.split())
    for name, command in ALL[words].commands.items():
        told = summary(command.help)
        assert told.endswith(".")
        assert f" {name} {told} " in f"{out} "
    assert "..." not in out.partition("Commands:")[2].partition("Example")[0]


def test_the_table_says_what_the_modules_say() -> None:
    assert {name: summary(ALL[name,].help) for name in COMMANDS} == {
        name: place.summary for name, place in COMMANDS.items()
    }
    assert not any(command.hidden for command in ALL.values())


def test_the_table_has_all_that_the_modules_have() -> None:
    groups = [get_group(import_module(f"adapter.cli.{place.module}").app) for place in COMMANDS.values()]
    assert {name for group in groups for name in ([group.name] if group.name else group.commands)} == {
        *COMMANDS
    }


def test_a_long_example_goes_on_as_a_shell_reads_it() -> None:
    long = f'Example:  evapi-adapter send --event e --data \'{{"a b": "{"x" * 40}"}}\' --node sbc1'
    head, first, *rest = examples(long, 60)
    assert (head, first) == ("Example:", "  evapi-adapter send --event e --data \\")
    assert rest == [f'      \'{{"a b": "{"x" * 40}"}}\' \\', "      --node sbc1"]

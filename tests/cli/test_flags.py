"""One meaning for each flag in all commands, and what every list takes."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer.main

from adapter.cli import listing
from adapter.cli.main import app
from adapter.cli.output import Column, Format, Output
from adapter.errors import BrokerUnavailable, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

SAME: Final = ("--reason", "--also", "--since", "--sort", "--watch", "--yes", "--cause", "--set", "--mqtt")
"""Flags that say the same wherever they are: one help, one word for the value."""
ONE: Final = {"--service": "NAME", "--outcome": "OUTCOME", "--output": None, "--event": None}
"""Flags of one value that the command is about; ``--event`` filters, or asks."""
TIMES: Final = {
    "tail",
    "replay",
    "inflight list",
    *(f"dead-letters {do}" for do in ("list", "replay", "purge")),
}
"""Commands about what has a time."""
NO_OPERATOR: Final = {"run", "consume", "bench"}


def commands() -> Iterator[tuple[str, Any]]:
    """Each command, by its words."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", {})
        if words and (not inner or command.invoke_without_command):
            yield " ".join(words), command
        for name, each in inner.items():
            yield from walk(each, (*words, name))

    yield from walk(typer.main.get_command(app), ())


def options() -> dict[str, list[tuple[str, Any]]]:
    """Of each flag the commands that have it."""
    found = defaultdict(list)
    for words, command in commands():
        for option in command.params:
            for flag in option.opts:
                found[flag].append((words, option))
    return found


@pytest.mark.parametrize("flag", SAME)
def test_a_flag_says_the_same_everywhere(flag: str) -> None:
    told = {
        (each.help, each.metavar, each.multiple)
        for words, each in options()[flag]
        if words not in NO_OPERATOR
    }
    assert len(told) == 1, f"{flag} has one meaning: see adapter.cli.options, adapter.cli.listing"


@pytest.mark.parametrize("flag", ONE)
def test_a_flag_takes_the_same_everywhere(flag: str) -> None:
    for words, option in options()[flag]:
        assert not option.multiple or flag == "--outcome", words
        assert ONE[flag] is None or option.metavar == ONE[flag], words


def test_output_has_its_letter_everywhere() -> None:
    found = options()
    assert [words for words, _ in found["--output"]] == [words for words, _ in found["-o"]]


def test_whatever_has_a_time_takes_since() -> None:
    assert {words for words, _ in options()["--since"]} == TIMES


def test_every_list_is_sorted_and_watched() -> None:
    lists = {words for words, command in commands() if (command.help or "").startswith("List ")}
    assert {"nodes", "replicas", "services", "inflight list", "dead-letters list"} < lists
    for flag in ("--sort", "--watch"):
        assert {words for words, _ in options()[flag]} == lists


COLUMNS = (Column("name", "NAME"), Column("waits", "IN FLIGHT"))
_WAITS: Final = {"b": 10, "a": None, "C": 9}
ROWS: Final[list[dict[str, Any]]] = [{"name": name, "waits": waits} for name, waits in _WAITS.items()]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("", "baC"),
        ("name", "abC"),
        ("-name", "Cba"),
        ("waits", "Cba"),
        ("-waits", "bCa"),
        ("in flight", "Cba"),
        ("-IN_FLIGHT", "bCa"),
    ],
)
def test_the_order(by: str, names: str) -> None:
    assert "".join(row["name"] for row in listing.ordered(ROWS, by, COLUMNS)) == names


def test_a_column_that_is_none() -> None:
    with pytest.raises(SettingsError, match="no column: there are in_flight, name, waits"):
        listing.ordered(ROWS, "age", COLUMNS)


def test_it_looks_again_and_waits_for_a_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter((None, BrokerUnavailable("away"), None, KeyboardInterrupt()))
    out = Output(Format.TABLE)

    def sleep(seconds: float) -> None:
        assert seconds == 2.0

    def look() -> None:
        told = next(looks)
        if told is not None:
            raise told
        out.rows(COLUMNS, ROWS)

    monkeypatch.setattr("adapter.cli.listing.time.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        listing.repeat(look, out, 2.0)
    captured = capsys.readouterr()
    assert captured.out.count("IN FLIGHT") == 2
    assert captured.err == "evapi-adapter: away\n"


def test_what_the_first_look_raises_ends_it() -> None:
    def look() -> None:
        raise BrokerUnavailable("away")

    with pytest.raises(BrokerUnavailable):
        listing.repeat(look, Output(Format.TABLE), 2.0)


@pytest.mark.parametrize(("format_", "every"), [(Format.JSON, 2.0), (Format.TABLE, 0.01)])
def test_what_cannot_be_watched(format_: Format, every: float) -> None:
    with pytest.raises(SettingsError):
        listing.repeat(lambda: None, Output(format_), every)

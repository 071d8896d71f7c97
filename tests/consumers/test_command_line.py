"""Which arguments are taken off a command line, and that nobody reads a password in what is left."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.command_line import MisplacedPassword, hide_passwords, take_out
from tests.harness.process import Process

FLAGS = {"--amqp-url": "A", "--redis-url": "R"}
SECRET = "amqp://u:hunter2@127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "kept", "moved"),
    [
        (["run", "--amqp-url", SECRET, "-x"], ["run", "-x"], {"A": SECRET}),
        (["run", f"--amqp-url={SECRET}", "-x"], ["run", "-x"], {"A": SECRET}),
        ([f"--redis-url={SECRET}", "--amqp-url", "amqp://h"], [], {"R": SECRET, "A": "amqp://h"}),
        (["--redis-url", "redis://h?a=b&password=hunter2"], [], {"R": "redis://h?a=b&password=hunter2"}),
        (["--amqp-url", "guest:hunter2@h"], [], {"A": "guest:hunter2@h"}),
        (["--amqp-url", SECRET, "--amqp-url", "amqp://h"], [], {"A": "amqp://h"}),  # the last one counts
        (["--amqp-url", SECRET, "--amqp-url="], [], {}),
        (["--amqp-url", SECRET, "--amqp-url"], ["--amqp-url"], {"A": SECRET}),
        (["--amqp-url", SECRET, "--", "--redis-url", "x"], ["--", "--redis-url", "x"], {"A": SECRET}),
    ],
)
def test_what_is_taken_out(arguments: list[str], kept: list[str], moved: dict[str, str]) -> None:
    assert take_out(arguments, FLAGS) == (kept, moved)


@pytest.mark.parametrize(
    "arguments", [[], ["--amqp-url"], ["run", "--amqp-url", "amqp://h/v", "--redis-url=redis://h", "--", "@"]]
)
def test_without_a_password_all_stays(arguments: list[str]) -> None:
    assert take_out(arguments, FLAGS) == (arguments, {})


words = st.sampled_from([*FLAGS, "--", "--amqp-url=", f"--amqp-url={SECRET}", SECRET, "run", ""]) | st.text()


@given(st.lists(words))
def test_any_arguments(arguments: list[str]) -> None:
    kept, moved = take_out(arguments, FLAGS)
    assert take_out(kept, FLAGS) == (kept, {})
    assert set(moved) <= set(FLAGS.values())
    assert len(kept) + len(moved) <= len(arguments)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Begin as if this had been typed; gives what is begun again: program, arguments, environment."""
    begun: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *how: begun.append(how))

    def run(*arguments: str, by: tuple[str, ...] = ("python3", "-m", "adapter.cli")):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(sys, "argv", ["somewhere", *arguments])
        monkeypatch.setattr(sys, "orig_argv", [*by, *arguments])
        hide_passwords(FLAGS)
        return begun

    return run


@pytest.mark.parametrize(
    "by", [("python3", "-m", "adapter.cli"), ("python3", "/bin/evapi-adapter"), ("python3", "-I", "-m", "x")]
)
def test_it_begins_again_as_it_was_begun(typed, monkeypatch: pytest.MonkeyPatch, by: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    for name in ("A", "A_FILE", "R_FILE"):
        monkeypatch.setenv(name, "before")
    ((program, arguments, environment),) = typed("run", "--amqp-url", SECRET, "--log", "json", by=by)
    assert program == arguments[0] == sys.executable
    assert arguments[1:] == [*by[1:], "run", "--log", "json"]
    assert environment["A"] == SECRET
    assert environment["R_FILE"] == "before"
    assert "A_FILE" not in environment  # it would contradict the flag
    assert environment["PATH"] == os.environ["PATH"]


def test_it_does_not_where_there_is_nothing_to_hide(typed) -> None:  # type: ignore[no-untyped-def]
    assert typed("run", "--amqp-url", "amqp://h") == []


def test_nor_where_another_program_calls_it(typed, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "argv", ["x", "--amqp-url", SECRET])
    monkeypatch.setattr(sys, "orig_argv", ["pytest"])
    begun: list[object] = []
    monkeypatch.setattr(os, "execve", lambda *how: begun.append(how))
    hide_passwords(FLAGS)
    assert begun == []


@pytest.mark.parametrize("word", [SECRET, f"--x={SECRET}", "x?password=hunter2", "x=redis://:hunter2@h"])
def test_a_password_anywhere_else_is_refused_and_not_shown(typed, word: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MisplacedPassword, match=r"^a URL with a password belongs into A or R$"):
        typed("run", word)


@pytest.mark.parametrize("form", [["--amqp-url", SECRET], [f"--amqp-url={SECRET}"]])
def test_a_consumer_s_command_line_has_no_password(tmp_path: Path, form: list[str]) -> None:
    command = [sys.executable, "-m", "consumers", "consumers.least_cost:service", *form]
    with Process("consumer", command, tmp_path, {"EVAPI_AMQP_URL_FILE": "/nonexistent"}) as consumer:
        # It has the URL all the same.
        consumer.wait_until(lambda: "@127.0.0.1:1" in consumer.tail(), "it to try to connect")
        shown = Path(f"/proc/{consumer.pid}/cmdline").read_bytes()
        assert shown.split(b"\0")[1:-1] == [b"-m", b"consumers", b"consumers.least_cost:service"]
    assert "hunter2" not in consumer.log.read_text()

"""Contexts: which installation the commands ask, without a password in a file of ours."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import Done, evapi_adapter, on_terminal
from tests.harness.process import free_port

if TYPE_CHECKING:
    from pathlib import Path


class Home:
    """A user's configuration folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "evapi-adapter" / "contexts.toml"

    def run(self, *words: str, **variables: str) -> Done:
        return evapi_adapter(*words, XDG_CONFIG_HOME=str(self.folder), **variables)

    def shown(self, *words: str, **variables: str) -> dict[str, tuple[object, str]]:
        done = self.run(*words, "settings", "show", "-o", "json", **variables)
        assert done.code == 0, done.err
        return {row["name"]: (row["value"], row["source"]) for row in done.rows}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_first_is_in_use_and_another_can_be(home: Home) -> None:
    added = home.run("context", "add", "test", "redis_url=redis://test", "lease=2")
    assert added == (0, "", f"{home.file}: test, in use from now on\n")
    assert home.run("context", "add", "production", "redis_url=redis://production").code == 0
    assert home.shown()["redis_url"] == ("redis://test", "context test")
    assert home.shown()["lease"] == (2.0, "context test")
    assert home.shown("--context", "production")["redis_url"] == ("redis://production", "context production")
    assert home.shown(EVAPI_CONTEXT="production")["redis_url"][0] == "redis://production"
    assert home.run("context", "use", "production").code == 0
    assert home.shown()["redis_url"] == ("redis://production", "context production")
    assert home.shown()["lease"] == (1.0, "default")
    listed = home.run("context", "list", "-o", "json").rows
    assert [(row["context"], row["in_use"]) for row in listed] == [("test", False), ("production", True)]
    assert home.run("context", "use", "--none").code == 0
    assert home.shown()["redis_url"] == (None, "default")
    assert home.run("context", "remove", "test").code == 0
    assert home.run("context", "list").out.split() == [
        "CONTEXT",
        "SETTINGS",
        "production",
        "redis_url=redis://production",
    ]


def test_environment_and_flags_win(home: Home) -> None:
    home.run(
        "context", "add", "test", "redis_url=redis://test", "amqp_url=amqp://test", "nodes=sbc1=10.0.0.5:8448"
    )
    found = home.shown("--context", "test", EVAPI_REDIS_URL="redis://environment")
    assert found["redis_url"] == ("redis://environment", "environment")
    assert found["nodes"] == (["sbc1=10.0.0.5:8448"], "context test")
    done = home.run("settings", "show", "--redis-url", "redis://flag", "-o", "json")
    assert {row["name"]: row["value"] for row in done.rows}["redis_url"] == "redis://flag"


def test_a_password_is_in_a_file_or_in_the_environment(home: Home, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("amqp://user:hunter2@rabbit")
    home.run("context", "add", "test", f"amqp_url_file={tmp_path}/secret", "redis_url_env=TEST_REDIS")
    found = home.shown(TEST_REDIS="redis://:hunter3@redis")
    assert found["amqp_url"] == ("amqp://user:***@rabbit", "context test")
    assert found["redis_url"] == ("redis://:***@redis", "context test")
    assert "hunter" not in home.file.read_text()
    done = home.run("settings", "show")
    assert (done.code, done.err) == (
        2,
        "evapi-adapter: TEST_REDIS: is not set: the context test takes redis_url from it\n",
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("redis_url=redis://:hunter2@redis",), "a URL with a password belongs into"),
        (("redis_url=redis://redis?password=hunter2",), ""),
        (("id_key=hunter2hunter2hunter2",), "id_key: passwords are not kept here: give id_key_file=PATH"),
        (("nosuch=1",), "settings are amqp_api, amqp_url"),
        (("lease",), "takes SETTING=VALUE"),
        ((), "SETTING"),
    ],
)
def test_what_is_not_kept(home: Home, words: tuple[str, ...], told: str) -> None:
    done = home.run("context", "add", "test", *words)
    assert done.code == 2
    assert told in done.err
    assert "hunter2" not in done.out + done.err
    assert not home.file.exists()


def test_the_file_is_the_users_alone(home: Home) -> None:
    home.run("context", "add", "test", 'policy=/etc/with "quotes".toml')
    assert stat.S_IMODE(home.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.file.parent.stat().st_mode) == 0o700
    assert json.loads(home.run("context", "list", "-o", "jsonl").out)["settings"] == {
        "policy": '/etc/with "quotes".toml'
    }


def test_one_that_is_not_there(home: Home) -> None:
    home.run("context", "add", "test", "lease=2")
    for words in (("--context", "nosuch", "settings", "show"), ("context", "use", "nosuch")):
        done = home.run(*words)
        assert (done.code, "there is no context 'nosuch': there are test" in done.err) == (2, True)


def test_a_file_that_is_wrong_is_told(home: Home) -> None:
    home.run("context", "add", "test", "lease=2")
    for text in ("use = ", "[contexts.test]\nlease = 2\n"):
        home.file.write_text(text)
        done = home.run("settings", "show")
        assert done.code == 2
        assert str(home.file) in done.err


def test_what_runs_services_takes_no_context_but_one_that_is_named(home: Home) -> None:
    home.run("context", "add", "test", "lease=-1")
    wrong = ("run", "--http", "no address", "--consumer", "consumers.least_cost:service")
    assert "EVAPI_HTTP" in home.run(*wrong).err
    assert "EVAPI_LEASE" in home.run("--context", "test", "run", *wrong[3:]).err


def test_top_shows_it(home: Home) -> None:
    home.run("context", "add", "production", f"redis_url=redis://127.0.0.1:{free_port()}")
    shown = home.run("top", "--once").out.splitlines()[0]
    assert shown.split()[1:3] == ["production", "Redis"]
    lively = on_terminal("top", "--once", XDG_CONFIG_HOME=str(home.folder)).out
    assert "production   Redis is away" in lively

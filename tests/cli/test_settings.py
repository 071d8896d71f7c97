"""``evapi-adapter settings show``: values, where they come from, and what is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from adapter.errors import SettingsError
from adapter.settings import Settings, examine, load, source
from tests.cli.command import Done, evapi_adapter, on_terminal

if TYPE_CHECKING:
    from pathlib import Path


SECRET = {"EVAPI_REDIS_URL": "redis://:hunter2@h/1", "EVAPI_AMQP_API": "http://u:hunter2@h:15672"}


def by_name(done: Done) -> dict[str, dict[str, Any]]:
    assert done.code == 0, done.err
    return {row["name"]: row for row in done.rows}


class TestShow:
    def test_every_setting_with_its_source(self, tmp_path: Path) -> None:
        secret = tmp_path / "amqp"
        secret.write_text("amqp://u:hunter2@rabbit\n")
        done = evapi_adapter(
            *("settings", "show", "-o", "json", "--set", "lease=2", "--http", "0.0.0.0:1"),
            EVAPI_AMQP_URL_FILE=str(secret),
            EVAPI_NODES="sbc1=10.0.0.5:8448,sbc2=[::1]:8448",
            EVAPI_POLICY="",
            **SECRET,
        )
        rows = by_name(done)
        assert set(rows) == set(Settings.model_fields)
        assert {tuple(row) for row in rows.values()} == {("name", "variable", "value", "source")}
        shown = {name: (row["value"], row["source"]) for name, row in rows.items()}
        assert shown["lease"] == (2.0, "flag")
        assert shown["http"] == ("0.0.0.0:1", "flag")
        assert shown["amqp_url"] == ("amqp://u:***@rabbit", "file")
        assert shown["redis_url"] == ("redis://:***@h/1", "environment")
        assert shown["amqp_api"] == ("http://u:***@h:15672", "environment")
        assert shown["nodes"] == (["sbc1=10.0.0.5:8448", "sbc2=[::1]:8448"], "environment")
        assert shown["policy"] == (None, "default"), "empty is as good as not given"
        assert shown["journal_payloads"] == (False, "default")
        assert rows["store_timeout"]["variable"] == "EVAPI_STORE_TIMEOUT"
        assert "hunter2" not in done.out + done.err

    def test_a_table_and_a_line_for_each(self) -> None:
        words = ("settings", "show", "--consumer", "consumers.least_cost:service", "--policy", "p\x1b.toml")
        done = evapi_adapter(*words)
        assert (done.code, done.err) == (0, "")
        head, *rows = [line.split() for line in done.out.splitlines()]
        assert head == ["VARIABLE", "VALUE", "SOURCE"]
        assert ["EVAPI_CONSUMER", "consumers.least_cost:service", "flag"] in rows
        (policy,) = (row for row in rows if row[0] == "EVAPI_POLICY")
        assert " ".join(policy[1:]) == r"p\x1b.toml (cannot be used: see evapi-adapter policy check) flag"
        assert ["EVAPI_LEASE", "1", "default"] in rows
        assert ["EVAPI_JOURNAL_PAYLOADS", "false", "default"] in rows
        assert ["EVAPI_AMQP_URL", "-", "default"] in rows
        lines = evapi_adapter(*words, "-o", "jsonl").out.splitlines()
        assert [json.loads(line)["name"] for line in lines] == list(Settings.model_fields)

    def test_the_policys_revision(self, tmp_path: Path) -> None:
        path = tmp_path / "p.toml"
        path.write_text("")
        done = evapi_adapter("settings", "show", EVAPI_POLICY=str(path))
        assert f"{path} (revision e3b0c44298fc)" in done.out

    def test_on_a_terminal_of_80_columns(self) -> None:
        code, shown, _ = on_terminal("settings", "show", EVAPI_AMQP_URL="amqp://" + "h" * 90)
        assert code == 0
        assert max(map(len, shown.splitlines())) <= 80

    def test_where_run_would_not_start(self) -> None:
        done = evapi_adapter("settings", "show")
        assert done.code == 0
        assert done.err.startswith("evapi-adapter: `run` would not start so: EVAPI_CONSUMER: nobody")

    def test_a_slip_in_a_variables_name(self) -> None:
        done = evapi_adapter(
            *("settings", "show", "--consumer", "a:b"),
            EVAPI_REDISURL="redis://h",
            EVAPI_LEAST_COST_RATES="rates.csv",
        )
        assert done.code == 0
        assert done.err == "evapi-adapter: EVAPI_REDISURL is no setting; is EVAPI_REDIS_URL meant?\n"


class TestWrong:
    def test_each_that_is_wrong_is_told(self) -> None:
        done = evapi_adapter(
            "settings",
            "show",
            "--set",
            "colour=red",
            EVAPI_LEASE="0",
            EVAPI_HTTP="x",
            EVAPI_REDIS_URL="hunter2",
        )
        assert (done.code, done.out) == (2, "")
        named = [line.split(": ")[1] for line in done.err.splitlines()]
        assert sorted(named) == ["EVAPI_COLOUR", "EVAPI_HTTP", "EVAPI_LEASE", "EVAPI_REDIS_URL"]
        assert "hunter2" not in done.err

    def test_a_file_that_cannot_be_read(self) -> None:
        done = evapi_adapter("settings", "show", EVAPI_REDIS_URL_FILE="/no/such")
        assert (done.code, done.out) == (2, "")
        assert "EVAPI_REDIS_URL_FILE: cannot read /no/such" in done.err

    def test_a_flag_given_as_another_setting(self) -> None:
        done = evapi_adapter("settings", "show", "--set", "nodes=h:1")
        assert (done.code, done.out) == (2, "")
        assert "give nodes by its own flag, --nodes" in done.err


def test_the_first_of_what_is_wrong_is_what_load_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"lease": "0", "http": "x"}
    found, wrong = examine(**flags)
    assert found is None
    assert [each.variable for each in wrong] == ["EVAPI_HTTP", "EVAPI_LEASE"]
    with pytest.raises(SettingsError, match=str(wrong[0])):
        load(bridge=False, **flags)
    monkeypatch.setenv("EVAPI_LEASE", "2")
    assert source("lease", lease=None) == "environment"
    assert source("lease", lease="3") == "flag"

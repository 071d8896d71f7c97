"""``evapi-adapter policy``: what counts, whether a file is good, what happens to an event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from adapter.relay.policy import read
from tests.cli.command import evapi_adapter, on_terminal
from tests.cli.policies import PLAIN, told
from tests.relay.wrong_policies import KEYS, SYNTAX

if TYPE_CHECKING:
    from pathlib import Path

RULES = """\
[default]
deadline = 1
fallback_on = { timeout = { action = "route", uri = "sip:default.example.net" } }

[limits]
in_flight = 200
emergency = 20

[events.screening]
deadline = 3.5
fallback = { action = "allow" }
services = ["screening"]

[events."sos\\u001b"]
emergency = true
format = "json"
"""
REJECT = {"action": "reject", "code": 503, "reason": "No decision"}
ROUTE = {"action": "route", "uri": "sip:default.example.net"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(RULES)
    return path


class TestShow:
    def test_everything_as_json(self, path: Path) -> None:
        found = told("show", "--policy", str(path))
        assert found == told("show", EVAPI_POLICY=str(path))
        rows = found.pop("rows")
        assert found.pop("services") == []
        assert found == {
            "policy": str(path),
            "revision": read(path).revision,
            "in_flight": 200,
            "emergency": 20,
            "longest_deadline": 3.5,
        }
        assert [row["event"] for row in rows] == ["screening", "sos\x1b", None]
        assert rows[0] == {
            "event": "screening",
            "deadline": 3.5,
            "format": "msgpack",
            "lane": "normal",
            **PLAIN,
            "services": ["screening"],
            "fallback": {"action": "allow"},
            "fallback_on": {},
            "own": ["deadline", "fallback", "services"],
        }
        assert (rows[1]["lane"], rows[1]["format"]) == ("emergency", "json")
        assert rows[2]["fallback_on"] == {"timeout": ROUTE}

    def test_a_table_and_a_line_for_each(self, path: Path) -> None:
        done = evapi_adapter("policy", "show", "--policy", str(path))
        assert (done.code, done.err) == (0, "")
        assert f"REVISION          {read(path).revision}" in done.out
        assert "any other" in done.out
        assert r"sos\x1b" in done.out
        assert 'timeout: {"action": "route"' in done.out
        lines = evapi_adapter("policy", "show", "--policy", str(path), "-o", "jsonl").out.splitlines()
        assert [json.loads(line)["event"] for line in lines] == ["screening", "sos\x1b", None]

    def test_without_a_file(self) -> None:
        assert told("show")["revision"] == "built-in"
        assert "none: the built-in one" in evapi_adapter("policy", "show").out

    def test_on_a_terminal_of_80_columns(self, path: Path) -> None:
        code, shown, _ = on_terminal("policy", "show", EVAPI_POLICY=str(path))
        assert code == 0
        assert max(map(len, shown.splitlines())) <= 80

    def test_a_wrong_one(self, path: Path) -> None:
        path.write_text("[default]\ndeadline = 0\n")
        code, out, err = evapi_adapter("policy", "show", "--policy", str(path))
        assert (code, out) == (2, "")
        assert err.startswith(f"evapi-adapter: {path}, line 2, default.deadline: 0 is not within")


class TestCheck:
    def test_a_good_one(self, path: Path) -> None:
        assert told("check", str(path)) == {
            "file": str(path),
            "good": True,
            "revision": read(path).revision,
            "events": ["screening", "sos\x1b"],
            "longest_deadline": 3.5,
            "restart": None,
            "hints": [],
        }
        assert f"REVISION          {read(path).revision}" in evapi_adapter("policy", "check", str(path)).out

    @pytest.mark.parametrize(("text", "where", "said"), KEYS)
    def test_a_wrong_key(self, path: Path, text: str, where: str, said: str) -> None:
        path.write_text(text)
        sentence = f"{path}, {where}: {said}"
        assert evapi_adapter("policy", "check", str(path)) == (2, "", f"evapi-adapter: {sentence}\n")
        done = evapi_adapter("policy", "check", str(path), "-o", "json")
        found = json.loads(done.out)
        assert (done.code, done.err) == (2, "")
        assert (found["good"], found["text"]) == (False, sentence)
        assert f"line {found['line']}, {found['key']}: {found['problem']}; {found['do']}" in sentence

    @pytest.mark.parametrize(("text", "line", "do"), SYNTAX)
    def test_what_is_no_toml(self, path: Path, text: str, line: int, do: str) -> None:
        path.write_text(text)
        found = json.loads(evapi_adapter("policy", "check", str(path), "-o", "json").out)
        assert (found["line"], found["key"], found["do"]) == (line, None, do)

    def test_a_file_that_is_not_there(self) -> None:
        code, out, err = evapi_adapter("policy", "check", "/no/such.toml")
        assert (code, out) == (2, "")
        assert err.startswith("evapi-adapter: /no/such.toml cannot be read: No such file or directory;")

    def test_what_a_running_adapter_would_not_take(self, path: Path, tmp_path: Path) -> None:
        new = tmp_path / "new.toml"
        new.write_text("\n[events.slow]\ndeadline = 9\n")
        restart = told("check", str(new), "--policy", str(path))["restart"]
        assert restart.startswith(f"{new}, line 3, events.slow.deadline: 9 s is longer than RabbitMQ keeps")
        assert restart == told("check", str(new), EVAPI_POLICY=str(path))["restart"]
        assert "TAKES A RESTART" in evapi_adapter("policy", "check", str(new), EVAPI_POLICY=str(path)).out
        assert told("check", str(path), "--policy", str(new))["restart"] is None
        assert told("check", str(new))["restart"] is None

    def test_where_the_one_in_force_is_wrong(self, path: Path, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong.toml"
        wrong.write_text("x = 1")
        code, out, err = evapi_adapter("policy", "check", str(path), "--policy", str(wrong))
        assert code == 0
        assert "TAKES A RESTART" not in out
        assert f"is not known: {wrong}, line 1, x: is not known here" in err


class TestExplain:
    def test_the_events_own_table(self, path: Path) -> None:
        found = told("explain", "screening", "--policy", str(path), "--data", '{"user":"100"}')
        outcomes = {each["outcome"]: (each["decision"], each["source"]) for each in found.pop("outcomes")}
        own = ({"action": "allow"}, "events.screening.fallback")
        assert outcomes.pop("decided") == (None, "reply")
        assert outcomes.pop("operator") == (None, "operator")
        assert set(outcomes) == {
            *("timeout", "unroutable", "unavailable", "overload", "malformed", "failed", "oversized")
        }
        assert all(each == own for each in outcomes.values())
        size = found["data"].pop("request_bytes")
        assert 50 < size < 120
        (asked,) = found.pop("asked")
        assert (asked["service"], asked["queue"]) == ("screening", "evapi.decide.screening")
        assert found.pop("ladder") == [
            {"step": "service", "how": "screening decides"},
            {"step": "fallback", "how": "of each outcome"},
        ]
        sources = found.pop("sources")
        assert (sources["deadline"], sources["services"]) == (
            "events.screening.deadline",
            "events.screening.services",
        )
        assert {sources[key] for key in ("format", "emergency", "mode", "cache")} == {"built-in"}
        assert found == {
            "event": "screening",
            "table": "events.screening",
            "revision": read(path).revision,
            "routing_key": "screening.<node>",
            "data": {"as": "map", "problem": None, "cache_key": None},
            "deadline": 3.5,
            "format": "msgpack",
            "admission": "normal",
            "limit": 200,
            **PLAIN,
            "services": ["screening"],
        }

    def test_the_default(self, path: Path) -> None:
        found = told("explain", "other", "--policy", str(path))
        outcomes = {each["outcome"]: (each["decision"], each["source"]) for each in found["outcomes"]}
        assert (found["table"], found["data"]) == ("default", None)
        assert outcomes["timeout"] == (ROUTE, "default.fallback_on.timeout")
        assert outcomes["failed"] == (REJECT, "built-in")

    def test_the_emergency_class(self, path: Path) -> None:
        found = told("explain", "sos\x1b", "--policy", str(path))
        assert (found["admission"], found["limit"], found["format"]) == ("emergency", 220, "json")
        assert found["sources"]["emergency"] == 'events."sos\\u001b".emergency'

    def test_for_people(self, path: Path) -> None:
        done = evapi_adapter("policy", "explain", "screening", "--policy", str(path), "--data", "no object")
        words = " ".join(done.out.split())
        assert (done.code, done.err) == (0, "")
        assert "DATA bytes: they are no JSON object" in words
        assert "DEADLINE 3.5 s (events.screening.deadline)" in words
        assert "ADMISSION normal (built-in): up to 200 in flight of a node" in words
        assert "SERVICES screening (events.screening.services)" in words
        assert 'timeout {"action": "allow"} events.screening.fallback' in words
        assert "decided the service's reply" in words

    def test_what_would_be_malformed(self, path: Path) -> None:
        done = evapi_adapter("policy", "explain", "sos\x1b", "--policy", str(path), "--data", "{}")
        assert "malformed: not printable" in done.out
        assert "emergency (" in done.out
        assert "up to 220 in flight of a node, 200 and 20 more" in done.out

    def test_no_event(self) -> None:
        code, out, err = evapi_adapter("policy", "explain", "")
        assert (code, out) == (2, "")
        assert err == "evapi-adapter: EVENT: is the name of an event\n"


@pytest.mark.parametrize("words", [("show",), ("check",), ("explain",)])
def test_help_gives_examples_and_exit_codes(words: tuple[str, ...]) -> None:
    code, out, _ = evapi_adapter("policy", *words, "--help")
    assert code == 0
    assert "Exit codes: 0" in " ".join(out.split())
    assert f"evapi-adapter policy {words[0]}" in " ".join(out.partition("Options:")[2].split())

"""``evapi-adapter policy`` of events that several services decide."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from adapter.relay.plan import Service, Shadow, in_share
from tests.cli.command import evapi_adapter, on_terminal
from tests.cli.policies import PLAIN, told

if TYPE_CHECKING:
    from pathlib import Path

SEVERAL = """\
[services.fraud]
within = 0.3
optional = true
format = "json"
fields = ["user", "account"]
accepts = ["reject", "allow"]
breaker = { after = 3, pause = 2.0 }

[services.froud]
optional = true

[events.invite]
max_deadline = 3.0
mode = "all"
services = ["screening", "fraud"]
observers = ["cdr"]
shadows = [{ service = "next", share = 0.05 }, "candidate"]
retry = { on = ["failed", "untaken"], times = 2 }
backup = ["one", "two"]
cache = { key = ["account", "user"], stale = 60 }
fallback_on = { timeout = { action = "allow" } }
"""
NEXT = Shadow(Service("next"), 0.05)
CALLS = [f"{number}@example.net" for number in range(1000)]
IN = next(call_id for call_id in CALLS if in_share(NEXT, call_id))
OUT = next(call_id for call_id in CALLS if not in_share(NEXT, call_id))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(SEVERAL)
    return path


def test_show(path: Path) -> None:
    found = told("show", "--policy", str(path))
    assert found["longest_deadline"] == 3.0
    assert found["services"][0] == {
        "service": "fraud",
        "within": 0.3,
        "optional": True,
        "format": "json",
        "fields": ["user", "account"],
        "accepts": ["allow", "reject"],
        "breaker": {"after": 3, "pause": 2.0},
        "batch": None,
    }
    row = found["rows"][0]
    assert {key: row[key] for key in PLAIN} == {
        "max_deadline": 3.0,
        "mode": "all",
        "quorum": None,
        "services": ["screening", "fraud"],
        "retry": {"on": ["failed", "untaken"], "times": 2},
        "backup": ["one", "two"],
        "cache": {"key": ["account", "user"], "stale": 60.0},
        "observers": ["cdr"],
        "shadows": [{"service": "next", "share": 0.05}, {"service": "candidate", "share": 1.0}],
    }
    assert {key: found["rows"][1][key] for key in PLAIN} == PLAIN


def test_show_for_people(path: Path) -> None:
    done = evapi_adapter("policy", "show", "--policy", str(path))
    assert (done.code, done.err) == (0, "")
    assert "all of screening, fraud" in done.out
    ladder = "cache by account, user, 60 s stale; up to 3 s; retry failed, untaken x2; backup one, two"
    assert ladder in done.out
    assert "cdr, next (0.05 of the calls), candidate" in done.out
    assert "after 3 silences, for 2 s" in done.out


def test_what_may_be_a_slip(path: Path, tmp_path: Path) -> None:
    said = "line 9, services.froud: no event names it; name it in an event, or leave its table out"
    assert told("check", str(path))["hints"] == [said]
    assert said in evapi_adapter("policy", "check", str(path)).out
    other = tmp_path / "other.toml"
    other.write_text('[services.froud]\n\n[events.a]\nservices = ["fraud"]\n')
    said = "line 1, services.froud: no event names it; did you mean fraud?"
    assert told("check", str(other))["hints"] == [said]


def test_explain(path: Path) -> None:
    data = {"user": "4420", "account": 7, "call_id": IN}
    found = told("explain", "invite", "--policy", str(path), "--data", json.dumps(data))
    assert found["data"]["cache_key"] == {"account": 7, "user": "4420"}
    asked = [
        (each["turn"], each["role"], each["queue"], each["within"], each["in_share"])
        for each in found["asked"]
    ]
    assert asked == [
        (1, "service", "evapi.decide.screening", None, True),
        (1, "service", "evapi.decide.fraud", 0.3, True),
        (2, "backup", "evapi.decide.one", None, True),
        (3, "backup", "evapi.decide.two", None, True),
        (1, "observer", "evapi.decide.cdr", None, True),
        (1, "shadow", "evapi.decide.next", None, True),
        (1, "shadow", "evapi.decide.candidate", None, True),
    ]
    fraud, screening = found["asked"][1], found["asked"][0]
    assert (fraud["data"], fraud["format"]) == ({"user": "4420", "account": 7}, "json")
    assert (screening["data"], screening["format"]) == (data, "msgpack")
    assert [each["step"] for each in found["ladder"]] == [
        *("cache", "service", "retry", "backup", "stale", "fallback_on", "fallback")
    ]
    assert found["sources"]["max_deadline"] == "events.invite.max_deadline"


def test_a_call_that_is_not_in_the_share(path: Path) -> None:
    def shadow(*words: str) -> Any:
        (found,) = (
            each
            for each in told("explain", "invite", "--policy", str(path), *words)["asked"]
            if each["service"] == "next"
        )
        return found["share"], found["in_share"]

    assert shadow("--data", json.dumps({"call_id": OUT})) == (0.05, False)
    assert shadow("--data", json.dumps({"call_id": IN})) == (0.05, True)
    assert shadow("--data", "{}") == shadow() == (0.05, None)


def test_data_without_the_key_are_not_kept(path: Path) -> None:
    done = evapi_adapter("policy", "explain", "invite", "--policy", str(path), "--data", '{"user":"1"}')
    assert "CACHE KEY none: the data lack one of account, user" in " ".join(done.out.split())


def test_explain_for_people(path: Path) -> None:
    data = json.dumps({"user": "1", "account": 2, "call_id": OUT})
    done = evapi_adapter("policy", "explain", "invite", "--policy", str(path), "--data", data)
    words = " ".join(done.out.split())
    assert (done.code, done.err) == (0, "")
    assert 'CACHE KEY {"account": 2, "user": "1"}' in words
    assert "a service may move it to 3 s (events.invite.max_deadline)" in words
    assert "SERVICES all of screening, fraud (events.invite.services)" in words
    assert "1 next shadow 0.05: does not get this call evapi.decide.next msgpack 1 candidate" in words
    assert 'after 3 silences, for 2 s {"user": "1", "account": 2}' in words
    assert "service screening and fraud, all at once: a reject by screening ends it" in words
    assert "backup one, then two, in the time left" in words


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("", "whoever is bound to it: the first decision counts"),
        ('services = ["a"]', "a decides"),
        ('services = ["a", "b"]', "a and b, all at once: the first decision counts"),
        (
            'services = ["a", "b", "c"]\nmode = "quorum"\nquorum = 2',
            "a, b and c, all at once: 2 decisions with one action count, merged",
        ),
        ('services = ["a", "b"]\nmode = "chain"', 'a, then b: a reject or "final": true ends it; the'),
        ('services = ["x", "y"]\nmode = "all"', "x and y, all at once: the decisions are merged"),
    ],
)
def test_each_mode(path: Path, rules: str, said: str) -> None:
    optional = "\n[services.x]\noptional = true\n[services.y]\noptional = true\n"
    path.write_text(f"[events.a]\n{rules}\n{optional}")
    found = told("explain", "a", "--policy", str(path))
    assert found["ladder"][0]["how"].startswith(said)
    turns = [each["turn"] for each in found["asked"]]
    assert turns == ([1, 2] if "chain" in rules else [1] * len(turns))


def test_on_a_terminal_of_80_columns(path: Path) -> None:
    for words in (("show",), ("explain", "invite")):
        code, shown, _ = on_terminal("policy", *words, EVAPI_POLICY=str(path))
        assert code == 0
        assert max(map(len, shown.splitlines())) <= 80

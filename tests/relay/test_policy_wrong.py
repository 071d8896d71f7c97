"""Each kind of wrong policy is told in one sentence: file, line, key, what is wrong, what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import PolicyError
from adapter.relay.policy import Policy, parse_text, read
from adapter.relay.policy_file import PolicyFile, refuse_too_long
from adapter.relay.policy_keys import MAX_DEADLINE
from tests.relay.wrong_policies import KEYS, SYNTAX

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def told_at_start(path: Path) -> str:
    with pytest.raises(PolicyError) as caught:
        read(path)
    return str(caught.value)


def told_live(path: Path, most: float = MAX_DEADLINE) -> str:
    follower = PolicyFile(path, Policy(), most, lambda policy: None)
    follower.look()
    return follower.problem


@pytest.mark.parametrize(("text", "where", "said"), KEYS)
def test_a_key(path: Path, text: str, where: str, said: str) -> None:
    path.write_text(text)
    assert told_at_start(path) == told_live(path) == f"{path}, {where}: {said}"


@pytest.mark.parametrize(("text", "line", "do"), SYNTAX)
def test_what_is_no_toml(path: Path, text: str, line: int, do: str) -> None:
    path.write_text(text)
    said = told_at_start(path)
    assert said == told_live(path)
    assert said.startswith(f"{path}, line {line}: is no TOML: ")
    assert said.endswith(f"; {do}")


def test_there_are_as_many_kinds_as_keys_and_more() -> None:
    assert len({said for *_, said in KEYS}) >= 100
    assert all("; " in said for *_, said in KEYS), "each has a remedy"


def test_what_is_not_utf_8(path: Path) -> None:
    path.write_bytes(b"[default]\n# fine\n# \xff\n")
    said = "is no TOML: it is not UTF-8 (invalid start byte); save it as UTF-8"
    assert told_at_start(path) == f"{path}, line 3: {said}"
    assert told_live(path).startswith(f"{path} is not UTF-8: invalid start byte")


def test_what_cannot_be_read(path: Path) -> None:
    said = f"{path} cannot be read: No such file or directory"
    assert told_at_start(path) == f"{said}; name a file that can be read, by --policy or EVAPI_POLICY"
    assert told_live(path) == said


def test_what_is_nested_without_end(path: Path) -> None:
    path.write_text(f"a = {'[' * 10_000}{']' * 10_000}")
    said = f"{path} is no TOML: nested too deeply; nest it less deeply"
    assert told_at_start(path) == told_live(path) == said


def test_a_fallback_that_is_too_long() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_text(f'[default]\n\nfallback = {{ x = "{"y" * 7_000}" }}')
    assert str(caught.value) == "line 3, default.fallback: is 7008 bytes of JSON; shorten it to 7000 bytes"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[default]\ndeadline = 9", "line 2, default.deadline"),
        ("[events.b]\ndeadline = 5\n[events.a]\ndeadline = 9", "line 4, events.a.deadline"),
        ("[default]\nmax_deadline = 9\n[events.a]\ndeadline = 5", "line 2, default.max_deadline"),
        ("[events.a]\nmax_deadline = 9", "line 2, events.a.max_deadline"),
    ],
)
def test_a_deadline_that_takes_a_restart(path: Path, text: str, where: str) -> None:
    path.write_text(text)
    found = read(path)
    said = (
        "9 s is longer than RabbitMQ keeps replies for, 4 s; restart the adapter with it, or write 4 at most"
    )
    assert told_live(path, 4.0) == f"{path}, {where}: {said}"
    refuse_too_long(found, text, 9.0)


def test_values_are_shown_as_far_as_they_help() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_text(f'[default]\ndeadline = "{"x" * 1000}\\n"')
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_a_key_in_quotes_is_named_in_quotes() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_text('[events."a b\\n"]\ndeadline = 0')
    assert caught.value.where == 'line 2, events."a b\\n".deadline'


RULES = """\
[default]
deadline = 2.0
fallback = { action = "reject", code = 503 }

[limits]
in_flight = 200

[events.a]
mode = "all"
services = [
  "screening", "fraud"
]
shadows = [{ service = "next", share = 0.05 }]
retry = { on = ["failed"], times = 1 }
cache = { key = ["account"], stale = 60 }

[services.fraud]
within = 0.3
breaker = { after = 5, pause = 5.0 }

[events.b]
fallback_on = { timeout = { action = "allow" } }
"""


@given(
    st.integers(0, len(RULES)), st.integers(0, 12), st.text(max_size=8) | st.sampled_from(list('[]{}"=.\n'))
)
def test_whatever_is_typed_is_a_policy_or_one_sentence(at: int, gone: int, typed: str) -> None:
    text = RULES[:at] + typed + RULES[at + gone :]
    wrong = None
    try:
        parse_text(text)
    except PolicyError as exc:
        wrong = exc
    if wrong is not None:
        assert 1 <= wrong.line <= text.count("\n") + 1
        assert str(wrong).isprintable()
        assert wrong.problem
        assert wrong.do

"""Where in a policy's text a key stands."""

from __future__ import annotations

import tomllib
import warnings
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.relay.policy_lines import broken_at, line_of

if TYPE_CHECKING:
    from adapter.errors import PolicyPath

TEXT = '''# a policy

[default]
deadline = 2.0   # seconds

fallback = { action = "reject", code = 503 }
events.dotted.deadline = 1

[events."with space"]
"dead line" = 1
services = [
    "a",   # [events.trap]
    "b",
]
[events.a]
text = """
[events.trap]
deadline = 9
"""
[[shadows]]
service = "x"

[[shadows]]
service = "y"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("default",), 3),
        (("default", "deadline"), 4),
        (("default", "fallback"), 6),
        (("default", "fallback", "code"), 6),
        (("default", "events"), 7),
        (("default", "events", "dotted", "deadline"), 7),
        (("events",), 9),
        (("events", "with space"), 9),
        (("events", "with space", "dead line"), 10),
        (("events", "with space", "services"), 11),
        (("events", "with space", "services", 1), 11),
        (("events", "a"), 15),
        (("events", "a", "text"), 16),
        (("shadows",), 20),
        (("shadows", 1), 23),
        (("shadows", 1, "service"), 24),
        (("events", "trap"), 0),
        (("shadows", 2), 0),
        (("shadows", "a"), 0),
        (("default", "deadline", "a"), 0),
        ((), 0),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_line_of_a_key(path: PolicyPath, line: int, newline: str) -> None:
    assert line_of(TEXT.replace("\n", newline), path) == line


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=4)
values = st.sampled_from(["1", '"x"', '["a",\n  "b"]', "{ a = 1 }", '"""\n[x]\na = 1"""', "true"])


@given(st.dictionaries(names, st.dictionaries(names, values, max_size=3), max_size=4), st.data())
def test_whatever_stands_around_it(tables: dict[str, dict[str, str]], data: st.DataObject) -> None:
    lines: list[str] = []
    places: list[tuple[PolicyPath, int]] = []
    for table, keys in tables.items():
        lines += data.draw(st.lists(st.sampled_from(["", "# [a]", "  "]), max_size=2))
        places.append(((table,), len(lines) + 1))
        lines.append(f"[{quoted(table)}]")
        for key, value in keys.items():
            places.append(((table, key), len(lines) + 1))
            lines += f"{quoted(key)} = {value}".split("\n")
    text = "\n".join(lines)
    for path, line in places:
        assert line_of(text, path) == line


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_a_long_one_takes_no_time() -> None:
    text = "".join(f"[events.e{n}]\ndeadline = 1\nservices = ['a']\n" for n in range(300))
    assert line_of(text, ("events", "e250", "services")) == 753


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = all", 1),
        ("\n[a]\n\n[a]\n", 4),
        ("a = 1\n\na = 2", 3),
        ('# x\na = """\n\n[b]\n', 2),
        ("a = [\n1,\n\n", 1),
        ("a = [\n1,\nb]", 3),
        ("\n[a", 2),
    ],
)
def test_what_is_no_toml(text: str, line: int) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    found, said, do = broken_at(text, caught.value)
    assert found == line
    assert said
    assert "(at" not in said
    assert do


def test_of_an_error_that_tells_no_place_no_line_is_told() -> None:
    with warnings.catch_warnings(action="ignore"):  # Python 3.14: such errors are no more to be made
        error = tomllib.TOMLDecodeError("Odd")
    assert broken_at("a = 1", error)[:2] == (0, "Odd")

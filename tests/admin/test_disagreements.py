"""Where the rules and Kamailio itself do not agree on a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import adapter.kamailio
from adapter.admin import checks_kamailio_loads
from adapter.admin.checks_kamailio import check, disagreements

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "listen=udp:127.0.0.1:5999\nauto_aliases=no\n"


@pytest.mark.parametrize(
    "text, told",
    [
        ("request_route { exit; }\n", []),
        ("#!define A 1\n#!define A 2\nrequest_route { exit; }\n", []),
        ("request_route { exit }\n", []),
        ("request_route { no_such_function(); }\n", ["refuses it, for a reason that no rule knows"]),
        ("request_route { exit; }\n/* never closed\n", ["starts with it, although a rule says"]),
    ],
)
def test_disagreements(tmp_path: Path, text: str, told: list[str]) -> None:
    path = tmp_path / "kamailio.cfg"
    path.write_text(HEAD + text, encoding="utf-8")
    judged = check(str(path), {}, None, 2, 2.0)
    found = list(disagreements(judged, checks_kamailio_loads.check(str(path), {})))
    assert [one.check for one in found] == ["disagreement"] * len(told)
    assert all(word in one.seen for word, one in zip(told, found, strict=True))


def test_where_no_kamailio_is_installed(tmp_path: Path) -> None:
    path = tmp_path / "kamailio.cfg"
    path.write_text("/* never closed\n", encoding="utf-8")
    assert list(disagreements(check(str(path), {}, None, 2, 2.0), [])) == []


def test_a_script_in_another_language_is_not_read() -> None:
    (ok,) = check(str(adapter.kamailio.path("kemi")), {}, None, 2, 2.0)
    assert ok.seen.endswith("; the script of cfgengine python was not read")

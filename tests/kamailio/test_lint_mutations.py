"""The shipped proxy, broken one thing at a time: each break is found, by the right rule and line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import adapter.kamailio
from adapter.kamailio.lint import RULES, lint
from tests.kamailio.mutations import MUTATIONS, PROXY

if TYPE_CHECKING:
    from tests.kamailio.mutations import Mutation


def names() -> list[str]:
    return [f"{number}-{one.rule}" for number, one in enumerate(MUTATIONS)]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=names())
def test_each_break_is_found(mutation: Mutation, tmp_path: Path) -> None:
    for name in adapter.kamailio.names():
        (tmp_path / name).write_text(adapter.kamailio.read(name), encoding="utf-8")
    for file, old, new in mutation.changes:
        path = tmp_path / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    found = lint(tmp_path / PROXY, defines=dict.fromkeys(mutation.defines, ""))
    told = [
        Path(one.file).read_text(encoding="utf-8").splitlines()[one.line - 1]
        for one in found
        if one.rule == mutation.rule
    ]
    assert any(mutation.at in line for line in told), found


def test_there_are_enough() -> None:
    assert len(MUTATIONS) >= 60
    assert len({one.rule for one in MUTATIONS}) >= 45
    assert {one.rule for one in MUTATIONS} <= set(RULES)

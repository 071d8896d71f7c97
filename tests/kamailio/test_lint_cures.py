"""Every proposal cures: the line to write is put in, Kamailio loads it, and the finding is gone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import adapter.kamailio
from adapter.kamailio.lint import lint
from tests.kamailio.cures import put_in
from tests.kamailio.test_lint import BAD, NEWER, checked, name

if TYPE_CHECKING:
    from pathlib import Path

BESIDE = "../../../adapter/kamailio/"
LEFT_TO_PEOPLE = {
    "duplicate-route": "one of the two is to be taken away",
    "gate-of-one-key": "a line is to be taken away",
    "unreadable": "what was meant is not known",
    "blocking-resume": "the consumer is to be asked instead",
    "ask-in-branch-or-reply": "the question is to be asked elsewhere",
    "lost-variable": "two lines are to be changed, and only one is named",
    "no-question": "where to ask depends on the configuration",
}
"""Rules that propose no line as such -> why."""
IN_ANOTHER_WAY = {
    "define-too-late.cfg": "the define needs modules that this file does not load",
    "no-gate-goes-on.cfg": "the key of the gate is the configuration's own",
    "goes-on.cfg": "the same question is asked in RESUME, and goes on there, too",
}
"""Files whose proposal does not fit as it is -> why."""


def proposals() -> list[Path]:
    return [
        path
        for path in BAD
        if path.name not in IN_ANOTHER_WAY and not any(path.stem.startswith(rule) for rule in LEFT_TO_PEOPLE)
    ]


@pytest.mark.parametrize("path", proposals(), ids=name)
def test_the_line_to_write_cures(path: Path, tmp_path: Path) -> None:
    for one in adapter.kamailio.names():
        shutil.copy(adapter.kamailio.path(one), tmp_path)
    text = path.read_text(encoding="utf-8").replace(BESIDE, "")
    copy = tmp_path / "proxy.cfg"
    copy.write_text(text, encoding="utf-8")
    (fault,) = lint(copy, defines=NEWER, replicas=2)
    copy.write_text(put_in(text, fault), encoding="utf-8")
    assert fault.rule not in {one.rule for one in lint(copy, defines=NEWER, replicas=2)}
    done = checked(copy, tmp_path)
    assert done.returncode == 0, done.stderr

"""Every rule has its reason, and README has both."""

from __future__ import annotations

from pathlib import Path

from adapter.kamailio.lint import RULES
from adapter.kamailio.lint.reasons import REASONS

README = Path(__file__).parents[2] / "README.md"


def test_each_rule_has_a_reason_of_one_sentence() -> None:
    assert set(REASONS) == set(RULES)
    assert all(reason.endswith(".") and ". " not in reason for reason in REASONS.values())


def test_readme_lists_every_rule() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `") and line.split("`")[1] in RULES] == [
        f"| `{rule}` | {severity} | {REASONS[rule]} |" for rule, severity in RULES.items()
    ]

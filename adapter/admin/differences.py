"""What a candidate would have decided, beside what was decided: compared call by call, and counted. Pure."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from adapter.contract import Decision

EXAMPLES: Final = 10
"""Calls that are kept as examples, of those that differ, and of those that the candidate did not decide."""


class Result(StrEnum):
    """What came of asking the candidate about one call."""

    SAME = "same"
    DIFFERENT = "different"
    FAILED = "failed"  # it said so, or its answer is none
    NO_ANSWER = "no_answer"


@dataclass(frozen=True, slots=True)
class Difference:
    """One key of a decision. ``None`` stands for a key that is not there, as null does."""

    field: str
    was: Any
    now: Any

    @property
    def key(self) -> tuple[str, str, str]:
        """Equal for those that are alike."""
        return self.field, _text(self.was), _text(self.now)


@dataclass(frozen=True, slots=True)
class Compared:
    """One call that the candidate was asked about.

    ``id``: its correlation id, without a tag; ``at``: when it came, in epoch seconds; ``outcome``: how it
    ended then; ``detail``: why there is no decision of the candidate; ``seconds``: what its answer took.
    """

    id: str
    call_id: str
    at: float
    outcome: str
    result: Result
    detail: str = ""
    seconds: float | None = None
    differences: tuple[Difference, ...] = ()


@dataclass(slots=True)
class Change:
    """A difference that some calls have, the first of which is ``example``."""

    difference: Difference
    example: str
    calls: int = 0


def differences(was: Decision, now: Decision, fields: Collection[str] = ()) -> tuple[Difference, ...]:
    """Compare two decisions, key by key.

    Values are equal if they are the same JSON: 1, 1.0 and true differ, the order of a map's keys does not
    count. A key that is not there equals null.

    Args:
        was: what was decided.
        now: what the candidate decides.
        fields: the keys that count; empty: all.

    Returns:
        The keys that differ, ``action`` first, then by name.
    """
    keys = fields or {*was, *now}
    found = (Difference(key, was.get(key), now.get(key)) for key in keys)
    differ = (each for each in found if _text(each.was) != _text(each.now))
    return tuple(sorted(differ, key=lambda each: (each.field != "action", each.field)))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(slots=True)
class Tally:
    """Counts what came of all calls.

    ``details``: why the candidate did not decide, with how often. ``differ``, ``undecided``: calls for
    examples.
    """

    counts: Counter[Result] = field(default_factory=Counter)
    details: Counter[tuple[Result, str]] = field(default_factory=Counter)
    differ: list[Compared] = field(default_factory=list)
    undecided: list[Compared] = field(default_factory=list)
    _changes: dict[tuple[str, str, str], Change] = field(default_factory=dict)

    def add(self, call: Compared) -> None:
        """Count a call."""
        self.counts[call.result] += 1
        for each in call.differences:
            change = self._changes.setdefault(each.key, Change(each, call.id))
            change.calls += 1
        if call.result in (Result.FAILED, Result.NO_ANSWER):
            self.details[call.result, call.detail] += 1
        kept = self.differ if call.result is Result.DIFFERENT else self.undecided
        if call.result is not Result.SAME and len(kept) < EXAMPLES:
            kept.append(call)

    @property
    def asked(self) -> int:
        """Calls about which the candidate was asked, and of which it is known what came of it."""
        return self.counts.total()

    @property
    def all_same(self) -> bool:
        """Whether every call would have been decided as it was."""
        return self.counts[Result.SAME] == self.asked > 0

    @property
    def changes(self) -> list[Change]:
        """The differences, with how many calls have each; by key, and of one key the most frequent first."""
        of_field: Counter[str] = Counter()
        for change in self._changes.values():
            of_field[change.difference.field] += change.calls
        return sorted(
            self._changes.values(),
            key=lambda each: (
                -of_field[each.difference.field],
                each.difference.field != "action",
                each.difference.field,
                -each.calls,
                each.difference.key,
            ),
        )

    def as_row(self) -> Mapping[str, int]:
        """The counts by their names, those of nothing among them."""
        return {"asked": self.asked, **{result.value: self.counts[result] for result in Result}}

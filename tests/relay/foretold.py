"""What is to be expected of a call by what ``policy explain`` says of its event: its table and its sentences.

It knows nothing of ``adapter.relay``: the test that has a call happen compares both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapter.model.ladder import Rung, Status
from adapter.model.transaction import Outcome
from adapter.relay.plan import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapter.admin.policy_asked import Recipient
    from adapter.admin.policy_explained import Explanation

OUTCOMES: Final = {
    Status.MALFORMED: Outcome.MALFORMED,
    Status.OVERSIZED: Outcome.OVERSIZED,
    Status.TIMEOUT: Outcome.TIMEOUT,
    Status.UNTAKEN: Outcome.TIMEOUT,
    Status.UNROUTABLE: Outcome.UNROUTABLE,
    Status.UNAVAILABLE: Outcome.UNAVAILABLE,
}
"""How a call ends that one of its services has failed; with any other status it has failed."""
FAILURES: Final = {Status.FAILED, Status.MALFORMED, Status.OVERSIZED}


class End(NamedTuple):
    """What a resume holds. ``services`` and ``step``: None of a call that needs no more than one reply."""

    outcome: str
    decision: Any
    services: dict[str, str] | None
    step: str | None


class Rules:
    """What the sentences of the ladder say."""

    def __init__(self, told: Explanation) -> None:
        self.steps = [step for step, _ in told.ladder]
        said = dict(told.ladder)
        how, retry, stale = (said.get(step, "") for step in (Rung.SERVICE, Rung.RETRY, Rung.STALE))
        self.is_first = how.endswith(("the first decision counts", "decides"))
        self.is_chain = '"final": true ends it' in how
        agree = re.search(r"(\d+) decisions? with one action", how)
        self.quorum = int(agree[1]) if agree else 0
        veto = re.search(r"a reject by (.+?) ends it", how)
        self.vetoes = set(re.split(r", | or ", veto[1])) if veto else set()
        times = re.search(r"is asked again, (once|up to (\d+) times)", retry)
        self.times = 0 if times is None else int(times[2] or 1)
        share = re.search(r"took within (\d+)% of its time", retry)
        self.taken_within = int(share[1]) / 100 if share else None
        again = FAILURES if "a service that failed" in retry else set()
        self.again = again | ({Status.UNTAKEN} if share else set())
        more = re.search(r"for ([\d.]+) s more than it holds", stale)
        self.stale = float(more[1]) if more else 0.0


class Foretold:
    """One call.

    Args:
        told: of its event, with its data.
        now: when it comes, in epoch seconds.
        gone: the services that no request can be brought to, and how that is told.
        kept: what was decided of an equal call, and until when that holds.
    """

    def __init__(
        self,
        told: Explanation,
        now: float,
        gone: Mapping[str, Status],
        kept: tuple[bytes, float] | None,
    ) -> None:
        self.told = told
        self.rules = Rules(told)
        self.now = self.start = now
        self.deadline = now + told.plan.deadline
        self.gone = gone
        self.kept = kept
        self.asked: list[Recipient] = []
        self.waiting: dict[str, float] = {}  # until when
        self.over: dict[str, Status] = {}  # in the order in which they came
        self.last: dict[str, Status] = {}
        self.said: dict[str, dict[str, Any]] = {}
        self.tries: Counter[str] = Counter()
        self.extended = False
        self.end: End | None = None
        self.turns: dict[int, list[Recipient]] = {}
        for each in told.recipients:
            if each.is_in:
                self.turns.setdefault(each.turn, []).append(each)
        self.services = [each for each in told.recipients if each.role == "service"]
        self.backups = [each for each in told.recipients if each.role == "backup"]
        self._begin()

    # What happens

    def came(self, name: str, status: Status, decision: dict[str, Any] | None = None) -> None:
        """A service that is waited for has answered."""
        accepts = next(each.service.accepts for each in self.told.recipients if each.service.name == name)
        if decision is not None and accepts is not None and decision.get("action") not in accepts:
            status, decision = Status.FAILED, None
        self._note([(name, status, decision)])

    def more(self, name: str, seconds: float) -> None:
        """A service that is waited for has asked for more time."""
        most = self.told.plan.max_deadline
        if most is None or self.extended:
            return
        former, self.deadline = self.deadline, min(self.deadline + seconds, self.start + most)
        self.extended = True
        for other, due in self.waiting.items():
            if due >= former:
                self.waiting[other] = self.deadline
            elif other == name:
                self.waiting[other] = min(due + seconds, self.deadline)

    def next_time(self) -> float:
        """When somebody is waited for no longer, if nobody answers before."""
        return min(*self.waiting.values(), self.deadline)

    def pass_time(self, now: float) -> None:
        """It is so late by now."""
        self.now = now
        if now < self.deadline:
            late = [name for name, due in self.waiting.items() if due <= now]
            self._note([(name, Status.TIMEOUT, None) for name in late])
        else:
            backups = [each.service.name for each in self.backups if each.service.name in self.waiting]
            self.last.update(dict.fromkeys(backups or self.waiting, Status.TIMEOUT))
            self._nobody(Outcome.TIMEOUT)

    def earlier(self) -> dict[str, Any]:
        """What the services of a chain have decided so far."""
        names = [each.service.name for each in self.services] if self.rules.is_chain else []
        return {name: self.said[name] for name in names if name in self.said}

    # What follows

    def _begin(self) -> None:
        if self.kept is not None and self.now < self.kept[1]:
            self.asked += [each for each in self.turns[1] if each.role in ("observer", "shadow")]
            self._ends(Outcome.DECIDED, json.loads(self.kept[0]), Rung.CACHE)
        else:
            self._ask(self.turns[1])

    def _ask(self, recipients: Iterable[Recipient]) -> None:
        self.asked += recipients
        names = [each.service.name for each in recipients if each.role in ("service", "backup")]
        for each in recipients:
            within = each.service.within
            if each.service.name in names:
                due = self.deadline if within is None else self.now + within
                if each.role == "service" and each.service.optional and self.told.plan.mode is not Mode.FIRST:
                    due = min(due, self.deadline - 0.1 * (self.deadline - self.now))
                self.waiting[each.service.name] = min(due, self.deadline)
        self._note([(name, self.gone[name], None) for name in names if name in self.gone])

    def _note(self, notes: list[tuple[str, Status, dict[str, Any] | None]]) -> None:
        """Take in what came together, and go on."""
        if not notes:
            return
        again = []
        for name, status, decision in notes:
            del self.waiting[name]
            self.last[name] = status
            if status in self.rules.again and self.tries[name] < self.rules.times:
                self.tries[name] += 1
                again.append(name)
                continue
            self.over[name] = status
            if decision is not None:
                self.said[name] = decision
        self._go_on(again)

    def _go_on(self, again: list[str]) -> None:
        found = self._of_services()
        if isinstance(found, Outcome):
            for each in self.backups:
                name = each.service.name
                if name in self.said:
                    self._ends(Outcome.DECIDED, self.said[name], Rung.BACKUP)
                    return
                if name not in self.over:
                    if name not in self.waiting:
                        self._ask([each])
                    return
            self._nobody(found)
        elif found is not None:
            counts = [self.said[name] for name in found]
            rung = Rung.RETRY if any(self.tries[name] for name in found) else Rung.SERVICE
            self._ends(Outcome.DECIDED, merged(counts), rung)
        elif again:
            self._ask([each for each in self.services if each.service.name in again])
        elif not self.waiting:
            self._ask(self.turns[len({each.turn for each in self.asked}) + 1])

    def _of_services(self) -> list[str] | Outcome | None:
        """Whose decisions count, with which outcome nobody's does, or None while that is open."""
        names = [each.service.name for each in self.services]
        needed = {each.service.name for each in self.services if not each.service.optional}
        over, left = [name for name in self.over if name in names], set(names).difference(self.over)
        if self.rules.is_first or self.rules.quorum:
            alike: dict[Any, list[str]] = {}
            for name in [each for each in over if each in self.said]:
                equal = alike.setdefault(self.said[name].get("action"), [])
                equal.append(name)
                if self.rules.is_first or len(equal) == self.rules.quorum:
                    return [each for each in names if each in equal]
            most = max(map(len, alike.values()), default=0)
            return None if most + len(left) >= max(1, self.rules.quorum) else self._lost()
        for name in over:
            if name not in self.said:
                if name in needed and self.over[name] is not Status.NONE:
                    return self._lost(name)
            elif self.said[name].get("action") == "reject" and (
                self.rules.is_chain or name in self.rules.vetoes
            ):
                return [name]
            elif self.rules.is_chain and self.said[name].get("final") is True:
                left = set()
        if left:
            return None
        return [name for name in names if name in self.said] or self._lost()

    def _lost(self, by: str | None = None) -> Outcome:
        """The outcome of a call whose services do not decide: by this one, else by the first that had to."""
        lost = [each.service for each in self.services if each.service.name in self.over]
        lost = [each for each in lost if each.name not in self.said]
        lost.sort(key=lambda each: (self.over[each.name] is Status.NONE, each.optional))
        status = self.over[by or lost[0].name] if by or lost else Status.FAILED
        return OUTCOMES.get(status, Outcome.FAILED)

    def _nobody(self, outcome: Outcome) -> None:
        given = self.told.outcomes[outcome]
        if self.kept is not None and self.now < self.kept[1] + self.rules.stale:
            self._ends(outcome, json.loads(self.kept[0]), Rung.STALE)
            return
        assert given.decision is not None
        by_outcome = f".{Rung.FALLBACK_ON}." in given.source
        step = Rung.FALLBACK_ON if by_outcome else Rung.FALLBACK
        self._ends(outcome, json.loads(given.decision), step)

    def _ends(self, outcome: Outcome, decision: Any, step: Rung) -> None:
        assert step in self.rules.steps
        self.waiting.clear()
        if not self.told.plan.courses:
            self.end = End(outcome.value, decision, None, None)
            return
        order = [each.service.name for each in (*self.services, *self.backups) if each.service.name]
        services = {name: self.last[name].value for name in order if name in self.last}
        self.end = End(outcome.value, decision, services or None, step.value)


def merged(decisions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Decisions as one, a later one's keys counting."""
    whole: dict[str, Any] = {}
    for each in decisions:
        whole.update(each)
    return whole

"""What became of the last calls, by event, and which services race for one. Pure."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from adapter.admin.checks_finding import Finding, Status, counted
from adapter.admin.checks_services import SERVICES
from adapter.model.transaction import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from adapter.admin.last_calls import EventCalls
    from adapter.admin.services import Service
    from adapter.relay.policy import Policy

LEAST: Final = 0.01
"""The share of an event's calls from which on it is told that they came back."""
MOST: Final = 0.5
"""The share from which on that is an error."""
ALIKE: Final = 0.8
"""How like another's name an event's must be to be taken for a slip of it."""
_RACE: Final = (
    "Each is asked, and whichever replies first decides: a slow refusal loses to a fast route. The policy "
    "can make one decision of both."
)
_UNROUTABLE: Final = "Each of these calls gets its fallback at once (outcome unroutable)."
_FAILED: Final = (
    "Each of these calls gets its fallback at once (outcome failed), unless another service decides."
)
_MALFORMED: Final = "Each of these calls gets its fallback at once (outcome malformed)."


def came_back(calls: Mapping[str, EventCalls], services: Sequence[Service]) -> Iterator[Finding]:
    """A finding for each event whose calls came back undecided.

    Args:
        calls: the last ones, by event.
        services: those that are known.
    """
    handled = _handled(services)
    for event, each in sorted(calls.items()):
        if not each.outcomes.keys() - {Outcome.DECIDED, Outcome.OPERATOR}:
            yield SERVICES.ok("calls", f"the last {counted(each.total, 'call')} were decided", event)
        if told := _share(each, Outcome.UNROUTABLE):
            known = ", ".join(f"{name} handles {', '.join(events)}" for name, events in handled.items())
            seen = f"{told} unroutable: no queue gets them; {known or 'no service is known to handle any'}"
            yield _finding(each, Outcome.UNROUTABLE, event, seen, _UNROUTABLE, _rename(event, handled))
        if told := _share(each, Outcome.FAILED):
            todo = "evapi-adapter services    # each instance's last error; its log has the rest"
            yield _finding(each, Outcome.FAILED, event, f"{told} failed{_why(each)}", _FAILED, todo)
        if told := _share(each, Outcome.MALFORMED):
            seen = f"{told} malformed{_why(each) or ': Kamailio sent frames that are not understood'}"
            todo = "evapi-adapter dead-letters list    # what came, and why it is not understood"
            yield _finding(each, Outcome.MALFORMED, event, seen, _MALFORMED, todo)


def races(services: Sequence[Service], policy: Policy) -> Iterator[Finding]:
    """A warning for each event that two services or more decide, while the policy does not say how.

    A service that is bound to everything listens, mostly, and is not counted.
    """
    there = [each for each in services if each.consumed]
    events = sorted({event for each in there for event in each.events or () if event.isidentifier()})
    for event in events:
        named = (policy.events.get(event) or policy.default).services
        rivals = [each.name for each in there if event in (each.events or ())]
        if named or len(rivals) < 2:
            continue
        seen = f"{' and '.join(rivals)} race for it"
        todo = f"[events.{event}]    # in EVAPI_POLICY\nservices = {_toml(rivals)}\n"
        todo += 'mode = "chain"    # or all, quorum; first is a race that you mean'
        yield SERVICES.warning("race", seen, _RACE, todo, event)


def _share(calls: EventCalls, outcome: Outcome) -> str:
    number, total = calls.outcomes[outcome], calls.total
    return (
        f"{number} of its last {counted(total, 'call')} came back"
        if number >= total * LEAST and number
        else ""
    )


def _finding(calls: EventCalls, outcome: Outcome, event: str, seen: str, why: str, todo: str) -> Finding:
    grave = calls.outcomes[outcome] >= calls.total * MOST
    status = Status.ERROR if grave else Status.WARNING
    return Finding(SERVICES.name, "calls", status, seen, why, todo, event)


def _why(calls: EventCalls) -> str:
    return f": {calls.fault}" if calls.fault else ""


def _handled(services: Sequence[Service]) -> dict[str, tuple[str, ...]]:
    return {each.name: events for each in services if (events := each.handled or each.events)}


def _rename(event: str, handled: Mapping[str, Sequence[str]]) -> str:
    """What to do about an event that no service handles: its name may be a slip, here or there."""
    known = [each for events in handled.values() for each in events]
    start = f"python -m consumers MODULE:SERVICE    # with a handler of {event}"
    alike = difflib.get_close_matches(event, known, 1, ALIKE)
    begins = [each for each in known if each.startswith(event) or event.startswith(each)]
    meant = alike or begins or (known if len(known) == 1 else [])
    if not meant:
        return start
    return f'$var(event) = "{meant[0]}";    # in Kamailio\'s configuration, if that is meant; else\n{start}'


def _toml(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"

"""What a row of the table is, and what its bounds may look at beside the counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.chaos.report import Bounds
from tests.chaos.servers import Kind
from tests.chaos.witness import DECIDED, LOCAL, SILENT, UNSENT
from tests.chaos.world import DEADLINE, Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.faults import Fault
    from tests.chaos.report import Report

SLACK: Final = 0.05
"""Seconds around a deadline within which its timeout must be written."""
AT_ONCE: Final = 0.1
BACK_WITHIN: Final = 3.0
MEMORY: Final = 150 << 20
SHORT_OF_IT: Final = 0.999
TWO: Final = Setup()
"""Two replicas and two consumers."""


@dataclass(frozen=True, slots=True)
class Row:
    """``lasts``: seconds of the fault. ``times``: of the usual rate; ``seconds``: of the run, where it
    is not as long as the others. ``unclaimed``: what nobody had claimed when the fault came is
    excused, since nobody was left who could.
    """

    name: str
    does: Fault
    bounds: Bounds
    setup: Setup = TWO
    lasts: float = 5.0
    kind: Kind = Kind.ALONE
    times: float = 1.0
    seconds: float | None = None
    unclaimed: bool = False


def timeouts_on_time(report: Report) -> str | None:
    """Each within SLACK of the deadline."""
    off = [call.wait for call in report.calls if call.end == "timeout" and abs(call.wait - DEADLINE) > SLACK]
    return f"{len(off)} timeouts after {min(off):.3f} to {max(off):.3f} s" if off else None


def at_once(outcome: str) -> Callable[[Report], str | None]:
    """Within AT_ONCE of the question, or of the fault where that came later."""

    def check(report: Report) -> str | None:
        fault = report.marks["fault"]
        waits = [call.ended - max(call.asked, fault) for call in report.calls if call.end == outcome]
        late = [wait for wait in waits if wait > AT_ONCE]
        return f"{len(late)} of {len(waits)} {outcome} after up to {max(late):.3f} s" if late else None

    return check


def decided_again(report: Report) -> str | None:
    """Every call that came BACK_WITHIN seconds after the return, or later."""
    new = [call for call in report.calls if call.asked > report.marks["back"] + BACK_WITHIN]
    missed = [call for call in new if call.end != DECIDED]
    if not new:
        return "no calls after the return"
    return f"{len(missed)} not decided of {len(new)} after the return" if missed else None


def nothing_stale(report: Report) -> str | None:
    """No request reached a consumer past its deadline."""
    return f"{len(report.stale)} stale, by up to {max(report.stale):.3f} s" if report.stale else None


def memory_bounded(report: Report) -> str | None:
    """No adapter took more than MEMORY."""
    return f"{report.memory >> 20} MB" if report.memory > MEMORY else None


def options_at_once(report: Report) -> str | None:
    """Kamailio was never held up."""
    return f"OPTIONS took {report.options:.3f} s" if report.options > AT_ONCE else None


def after_the_return(report: Report) -> str | None:
    """Every call that came once the server was back."""
    new = [call for call in report.calls if call.asked > report.marks["back"]]
    missed = [call.end for call in new if call.end not in (DECIDED, LOCAL)]
    return f"{len(missed)} new calls not decided" if missed or not new else None


def told(*words: str) -> Callable[[Report], str | None]:
    """A replica has warned of it, with one of these words in the event."""

    def check(report: Report) -> str | None:
        if any(word in text for text in report.told for word in words):
            return None
        return f"not told ({', '.join(words)})"

    return check


def served_from(mark: str, share: float) -> Callable[[Report], str | None]:
    """Of the calls that came between this mark and the return, adapters answered so many."""

    def check(report: Report) -> str | None:
        begin, end = report.marks[mark], report.marks["back"]
        calls = [call for call in report.calls if begin < call.asked < end]
        answered = sum(call.end not in ("", LOCAL, SILENT, UNSENT) for call in calls)
        if not calls:
            return f"no calls from {mark} to the return"
        found = answered / len(calls)
        return f"answered by adapters from {mark} on: {found:.1%} < {share:.0%}" if found < share else None

    return check


NEARLY: Final = Bounds(SHORT_OF_IT)

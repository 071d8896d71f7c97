"""The rows of the table: what happens to which world, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.chaos import faults
from tests.chaos.report import Bounds
from tests.chaos.servers import Kind
from tests.chaos.witness import DECIDED, LOCAL
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


NEARLY: Final = Bounds(SHORT_OF_IT)
ROWS: Final = (
    Row("nothing", faults.nothing, Bounds()),
    Row("SIGKILL active", faults.kill_active, NEARLY),
    Row(
        "SIGKILL only replica, back 1 s",
        faults.kill_only,
        # What it had claimed waits for its next life: start, lease and decision may take 3 s.
        Bounds(0.0, frozenset({LOCAL, "timeout"})),
        Setup(replicas=1),
        lasts=1.0,
        unclaimed=True,
    ),
    Row("rolling restart by SIGTERM", faults.restart_both, Bounds()),
    Row("SIGKILL 1 of 3 consumers", faults.kill_consumer, Bounds(), Setup(consumers=3, takes=0.2)),
    Row("SIGSTOP active 5 s", faults.pause_active, NEARLY),
    Row("Redis killed, back 5 s", faults.kill_redis, NEARLY),
    Row("Redis hangs 5 s", faults.pause_redis, NEARLY),
    Row("Redis fails over by Sentinel", faults.fail_over_redis, NEARLY, kind=Kind.SENTINEL),
    Row("cut off from Kamailio 5 s", faults.cut_evapi, NEARLY),
    Row("cut off from RabbitMQ 5 s", faults.cut_amqp, NEARLY),
    Row("cut off from Redis 5 s", faults.cut_redis, Bounds(SHORT_OF_IT, dropped=True)),
    Row(
        "RabbitMQ killed, back 10 s",
        faults.kill_rabbitmq,
        Bounds(
            0.0,
            frozenset({"unavailable", LOCAL}),
            checks=(at_once("unavailable"), decided_again, nothing_stale),
        ),
        lasts=10.0,
    ),
    Row(
        "RabbitMQ hangs 5 s",
        faults.pause_rabbitmq,
        Bounds(0.0, frozenset({"unavailable", "timeout", LOCAL}), checks=(decided_again,)),
    ),
    Row("1 of 3 RabbitMQ nodes killed", faults.kill_rabbitmq_node, Bounds(0.99), kind=Kind.CLUSTER),
    Row(
        "Kamailio killed and restarted",
        faults.kill_kamailio,
        Bounds(0.0, checks=(after_the_return,)),
        lasts=1.0,
    ),
    Row(
        "consumers stop 5 s",
        faults.pause_consumers,
        Bounds(0.0, frozenset({"timeout"}), checks=(timeouts_on_time,)),
    ),
    Row(
        "overload: 3 times, limit 500",
        faults.nothing,
        Bounds(
            0.0,
            frozenset({"overload"}),
            checks=(at_once("overload"), options_at_once, memory_bounded),
        ),
        # 2 consumers, 50 at a time, 0.5 s each: 200 decisions a second; 500 in flight wait 2.5 s.
        Setup(takes=0.5, prefetch=50, in_flight=500),
        times=3.0,
        seconds=10.0,
        lasts=0.0,
    ),
)

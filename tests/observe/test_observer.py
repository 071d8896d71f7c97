"""What is told of each step: to metrics, journal, log and traces, from one place."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from structlog.testing import capture_logs

from adapter.model.transaction import Outcome, State, Transaction, TransactionId
from adapter.observe.journal import Journal
from adapter.observe.journal_entry import Kind, unpack
from adapter.observe.metrics import Metrics
from adapter.observe.observer import LINES, CallLog, Observer
from adapter.observe.sink import Sink
from adapter.observe.sparse import Sparse
from adapter.observe.traces import Traces
from adapter.ports.broker import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOW = 1_700_000_000.0


def call(label: int = 1, call_id: str = "abc@host") -> Transaction:
    id_ = TransactionId("sbc1", 37, label, 1)
    return Transaction(id_, "invite_request", NOW + 2.0, NOW, b"", "r1", call_id=call_id)


ID = call().id


class Told(Sink):
    """Keeps what it is told, and names every call's trace."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def traceparent(self, transaction: Transaction, queue: str = "") -> str:
        return f"00-{transaction.id.label}"

    def published(self, at: float, transactions: Sequence[Transaction], took: float = 0.0) -> None:
        self.told.append(("published", at, transactions))

    def replied(self, at: float, replies: Sequence[tuple[TransactionId, Reply]]) -> None:
        self.told.append(("replied", at, replies))

    def resumed(
        self, at: float, transaction: Transaction, outcome: Outcome, seconds: float, decision: bytes
    ) -> None:
        self.told.append(("resumed", at, transaction, outcome))


class Unseen:
    """Where spans go that nobody looks at."""

    def span(self, *told: Any) -> None:
        pass

    def close(self) -> None:
        pass


class Bench:
    """An observer with all that it tells, on a clock by hand."""

    def __init__(self, traces: Told | None = None) -> None:
        self.now = NOW
        self.metrics = Metrics()
        self.journal = Journal()
        sinks = [
            self.metrics.trip,
            self.metrics.courses,
            self.journal,
            CallLog(),
            *([traces] if traces else []),
        ]
        self.observer = Observer(sinks, traces, lambda: self.now)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"evapi_{name}", labels)

    def kinds(self) -> list[tuple[Kind, float]]:
        entry = self.journal.take()
        return [] if entry is None else [(step.kind, step.at) for step in unpack(entry)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Log entries, of warnings and above as in operation."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        with capture_logs() as entries:
            yield entries
    finally:
        structlog.configure(**before)


def test_each_step_is_in_the_journal_with_its_time(bench: Bench) -> None:
    steps = (
        lambda: bench.observer.claimed(bench.now, [call()]),
        lambda: bench.observer.published(bench.now, [call()]),
        lambda: bench.observer.adopted("sbc1", ["r2"], State.SETTLED, [call()]),
        lambda: bench.observer.replied([(ID, Reply(str(ID), b""))]),
        lambda: bench.observer.stepped(ID, "invite_request", "lcr", "decided", 0.5),
        lambda: bench.observer.resumed(bench.now, call(), Outcome.DECIDED, b"{}"),
        lambda: bench.observer.read([ID]),
    )
    for step in steps:
        bench.now += 1
        step()
    kinds = [Kind.EVENT, Kind.PUBLISHED, Kind.ADOPTED, Kind.REPLY, Kind.STEP, Kind.RESUME, Kind.READ]
    assert bench.kinds() == [(kind, NOW + 1 + number) for number, kind in enumerate(kinds)]


def test_the_hops_are_measured(bench: Bench) -> None:
    bench.now += 0.5
    bench.observer.claimed(NOW, [call()])
    bench.observer.published(NOW + 0.25, [call()])
    assert [bench.value("hop_seconds_sum", hop=hop) for hop in ("claim", "publish")] == [0.5, 0.25]


def test_an_outcome_is_counted_with_the_time_since_the_event(bench: Bench) -> None:
    bench.now += 1.5
    bench.observer.resumed(bench.now, call(), Outcome.DECIDED, b"{}")
    labels = {"node": "sbc1", "event": "invite_request", "outcome": "decided"}
    assert bench.value("outcomes_total", **labels) == 1
    assert bench.value("decision_seconds_sum", outcome="decided") == 1.5


def test_a_clock_that_went_back_makes_no_negative_time(bench: Bench) -> None:
    bench.now -= 10
    bench.observer.resumed(bench.now, call(), Outcome.DECIDED, b"{}")
    assert bench.value("decision_seconds_sum", outcome="decided") == 0


def test_a_step_whose_clock_went_back_took_no_negative_time(bench: Bench) -> None:
    bench.observer.stepped(ID, "invite_request", "lcr", "decided", -0.5)
    assert bench.value("service_seconds_sum", service="lcr") == 0
    (step,) = unpack(bench.journal.take() or b"")
    assert step.more == {"service": "lcr", "status": "decided", "seconds": 0.0}


@pytest.mark.parametrize("state", list(State))
def test_adopted_is_told_with_whose_it_was(bench: Bench, logged: list[Any], state: State) -> None:
    bench.observer.adopted("sbc1", ["r2", "r3"], state, [call(1), call(2)])
    (entry,) = logged
    told = {"node": "sbc1", "of": ["r2", "r3"], "state": state.name.lower(), "count": 2}
    assert entry == {"event": "adopted", "log_level": "warning", **told}
    assert bench.value("adopted_total", node="sbc1", state=state.name.lower()) == 2


class TestLog:
    @pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.DECIDED, Outcome.OPERATOR}))
    def test_a_line_with_all_that_finds_the_call(
        self, bench: Bench, logged: list[Any], outcome: Outcome
    ) -> None:
        bench.now += 2
        bench.observer.resumed(bench.now, call(), outcome, b"{}")
        (entry,) = logged
        assert entry == {
            "event": "resumed",
            "log_level": "warning",
            "correlation_id": "sbc1:37:1:1",
            "call_id": "abc@host",
            "node": "sbc1",
            "event_name": "invite_request",
            "outcome": outcome.value,
            "seconds": 2.0,
        }

    @pytest.mark.parametrize("outcome", [Outcome.DECIDED, Outcome.OPERATOR])
    def test_what_somebody_decided_is_for_debugging(
        self, bench: Bench, logged: list[Any], outcome: Outcome
    ) -> None:
        bench.observer.resumed(bench.now, call(), outcome, b"{}")
        assert logged == []
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
        bench.observer.tick()
        bench.observer.resumed(bench.now, call(call_id=""), outcome, b"{}")
        (entry,) = logged
        assert (entry["log_level"], entry["outcome"]) == ("debug", outcome.value)
        assert "call_id" not in entry

    def test_what_an_operator_answers_is_told_with_who(self, bench: Bench, logged: list[Any]) -> None:
        by_hand = Reply(str(ID), b"{}", status="operator", service="operator:eve@host", by_operator=True)
        bench.observer.replied([(ID, Reply(str(ID), b"{}", service="lcr")), (ID, by_hand)])
        (entry,) = logged
        assert entry["event"] == "answered by an operator"
        assert (entry["correlation_id"], entry["by"]) == (str(ID), "operator:eve@host")

    def test_under_an_outage_the_rest_is_counted_and_told_once(self, bench: Bench, logged: list[Any]) -> None:
        for number in range(LINES + 30):
            bench.observer.resumed(bench.now, call(number), Outcome.TIMEOUT, b"{}")
        assert len(logged) == LINES
        bench.observer.resumed(bench.now, call(), Outcome.UNROUTABLE, b"{}")
        assert len(logged) == LINES + 1, "each outcome for itself"
        bench.observer.tick()
        assert len(logged) == LINES + 1, "its second is not over"
        bench.now += 1.5
        bench.observer.tick()
        bench.observer.tick()
        assert logged[LINES + 1 :] == [
            {"event": "resumed", "log_level": "warning", "outcome": "timeout", "not_shown": 30}
        ]

    def test_or_told_with_the_next_line(self, bench: Bench, logged: list[Any]) -> None:
        for number in range(LINES + 5):
            bench.observer.resumed(bench.now, call(number), Outcome.TIMEOUT, b"{}")
        bench.now += 1.5
        bench.observer.resumed(bench.now, call(), Outcome.TIMEOUT, b"{}")
        bench.observer.resumed(bench.now, call(), Outcome.TIMEOUT, b"{}")
        assert [entry.get("not_shown") for entry in logged[LINES:]] == [5, None]


class TestTraces:
    def test_they_are_told_of_each_step_and_give_the_name(self) -> None:
        traces = Told()
        bench = Bench(traces)
        answer = Reply(str(ID), b"{}")
        bench.observer.published(NOW, [call()])
        bench.observer.replied([(ID, answer)])
        bench.observer.resumed(bench.now, call(), Outcome.DECIDED, b"{}")
        assert traces.told == [
            ("published", NOW, [call()]),
            ("replied", NOW, [(ID, answer)]),
            ("resumed", NOW, call(), Outcome.DECIDED),
        ]
        assert bench.observer.traceparent(call(7)) == "00-7"

    def test_a_traced_call_is_named_beside_the_buckets_that_it_was_counted_in(self) -> None:
        metrics = Metrics()
        traces = Traces(1.0, "r1", Unseen(), metrics, lambda: NOW)
        observer = Observer((metrics.trip, metrics.courses, traces), traces, lambda: NOW)
        trace = observer.traceparent(call()).split("-")[1]
        observer.published(NOW, [call()])
        observer.stepped(call().id, call().event, "lcr", "decided", 0.1)
        observer.resumed(NOW, call(), Outcome.DECIDED, b"{}")
        lines = generate_openmetrics(metrics.registry).decode().splitlines()
        named = {line.partition("{")[0] for line in lines if f'# {{trace_id="{trace}"}}' in line}
        assert named == {f"evapi_{each}_seconds_bucket" for each in ("hop", "service", "decision")}

    def test_without_them_a_call_has_no_name(self, bench: Bench) -> None:
        assert bench.observer.traceparent(call()) == ""


def test_without_a_journal_nothing_is_kept() -> None:
    journal = Journal(keeps=False)
    Observer([journal]).claimed(NOW, [call()])
    assert journal.take() is None


def test_sparse_begins_a_new_second_with_the_first_after_it() -> None:
    sparse = Sparse(2)
    assert [sparse.take(at) for at in (0.0, 0.9, 0.95, 0.99, 1.0, 1.5, 1.9, 2.0)] == [
        0,
        0,
        None,
        None,
        2,
        0,
        None,
        1,
    ]
    assert sparse.left_out(5.0) == 0

"""What is counted under which name, and that no peer makes as many series as it likes."""

from __future__ import annotations

from dataclasses import fields
from functools import partial

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from adapter.broker.embedded import EmbeddedBroker
from adapter.broker.rabbitmq import Counters
from adapter.command_contract import COMMANDS, OWN, CommandOutcome
from adapter.evapi.window import Outgoing, Window
from adapter.model.transaction import Outcome, Transaction, TransactionId
from adapter.observe.command_metrics import FRAME
from adapter.observe.metrics import _BROKER, Metrics
from adapter.observe.trip_metrics import MAX_EVENTS, SECONDS
from adapter.ports.broker import Reply

NOW = 1_000_000.0
ID = TransactionId("sbc1", 1, 2, 1)


def call(event: str = "e", deadline: float = 2.0, id_: TransactionId = ID) -> Transaction:
    return Transaction(id_, event, NOW + deadline, NOW, b"", "r1")


def resume(metrics: Metrics, event: str, outcome: Outcome = Outcome.DECIDED, after: float = 0.1) -> None:
    metrics.trip.resumed(NOW + after, call(event), outcome, after)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"evapi_{name}", labels)


def resumes(metrics: Metrics) -> dict[str, float]:
    """How many there were, by event."""
    (family,) = [found for found in metrics.registry.collect() if found.name == "evapi_outcomes"]
    found: dict[str, float] = {}
    for sample in family.samples:
        found[sample.labels["event"]] = found.get(sample.labels["event"], 0) + sample.value
    return found


def test_events_that_nobody_named_share_a_series_once_there_are_too_many() -> None:
    metrics = Metrics(["invite_request"])
    for number in range(MAX_EVENTS + 50):
        resume(metrics, f"event {number}")
    resume(metrics, "invite_request")
    resume(metrics, "event 7")
    found = resumes(metrics)
    assert len(found) == MAX_EVENTS + 1
    assert (found["invite_request"], found["event 7"], found["other"]) == (1, 2, 51)
    assert value(metrics, "deadline_used_ratio_count", event="other") == 51
    assert value(metrics, "deadline_used_ratio_count", event="event 7") == 2


def test_those_of_the_policy_have_their_own_however_many_they_are() -> None:
    named = [f"event {number}" for number in range(MAX_EVENTS * 2)]
    metrics = Metrics(named)
    for event in [*named, "another"]:
        resume(metrics, event)
    assert resumes(metrics) == {**dict.fromkeys(named, 1), "other": 1}


def test_each_set_is_its_own() -> None:
    first, second = Metrics(), Metrics()
    resume(first, "e", Outcome.TIMEOUT, 2.0)
    assert resumes(second) == {}
    text = generate_latest(first.registry).decode()
    assert 'evapi_outcomes_total{event="e",node="sbc1",outcome="timeout"} 1.0' in text
    assert 'evapi_decision_seconds_sum{outcome="timeout"} 2.0' in text
    assert "_created" not in text


def test_an_outcome_begins_at_zero_with_the_first_of_its_event() -> None:
    """Prometheus sees no increase where a series begins at 1."""
    metrics = Metrics()
    resume(metrics, "e")
    assert value(metrics, "outcomes_total", node="sbc1", event="e", outcome="unroutable") == 0


def test_what_is_counted_by_node_begins_at_zero() -> None:
    metrics = Metrics()
    metrics.measure(["sbc1"], NOW)
    for name in ("duplicate_events_total", "late_replies_total", "bygone_total", "in_flight_oldest_seconds"):
        assert value(metrics, name, node="sbc1") == 0
    assert value(metrics, "events_total", node="sbc1", kind="malformed") == 0
    assert value(metrics, "adopted_total", node="sbc1", state="claimed") == 0
    for command in (*COMMANDS, OWN, FRAME):
        for outcome in CommandOutcome:
            labels = {"node": "sbc1", "command": command, "outcome": outcome.value}
            assert value(metrics, "commands_total", **labels) == 0


def test_a_command_takes_no_time_at_first() -> None:
    metrics = Metrics()
    for command in (*COMMANDS, OWN):
        assert value(metrics, "command_seconds_count", command=command) == 0


def test_a_node_that_is_forgotten_has_no_series() -> None:
    metrics = Metrics()
    metrics.measure(["sbc1", "sbc2"], NOW)
    metrics.forget("sbc1")
    text = generate_latest(metrics.registry).decode()
    assert 'node="sbc2"' in text
    assert 'node="sbc1"' not in text


def test_the_consumer_has_a_call_from_the_confirm_to_the_reply() -> None:
    metrics = Metrics()
    metrics.trip.claimed(NOW, [call()])
    metrics.trip.published(NOW + 1, [call()])
    metrics.trip.replied(NOW + 1.5, [(ID, Reply(str(ID), b""))])
    metrics.trip.replied(NOW + 9, [(ID, Reply(str(ID), b""))])  # a second reply counts for nothing
    assert value(metrics, "hop_seconds_count", hop="consumer") == 1
    assert value(metrics, "hop_seconds_sum", hop="consumer") == 0.5


def test_a_reply_before_the_confirm_took_no_time() -> None:
    metrics = Metrics()
    metrics.trip.claimed(NOW, [call()])
    metrics.trip.replied(NOW, [(ID, Reply(str(ID), b""))])
    metrics.trip.published(NOW + 1, [call()])
    metrics.trip.replied(NOW + 2, [(ID, Reply(str(ID), b""))])
    resume(metrics, "e")
    metrics.trip.published(NOW + 3, [call()])
    metrics.trip.replied(NOW + 4, [(ID, Reply(str(ID), b""))])
    assert value(metrics, "hop_seconds_count", hop="consumer") == 1
    assert value(metrics, "hop_seconds_sum", hop="consumer") == 0
    assert metrics.trip._waiting._asked == {}


def divided(received: float, replied: float) -> tuple[float | None, float | None]:
    """What queue and work are told to have taken of a call of 0.5 s, claimed 1.5 s ago."""
    metrics = Metrics()
    metrics.trip.claimed(NOW, [call()])
    metrics.trip.published(NOW + 1, [call()])
    reply = Reply(str(ID), b"", received=received, replied=replied)
    metrics.trip.replied(NOW + 1.5, [(ID, reply)])
    metrics.trip.replied(NOW + 1.6, [(ID, reply)])
    assert value(metrics, "hop_seconds_sum", hop="consumer") == 0.5
    counts = {value(metrics, "hop_seconds_count", hop=hop) for hop in ("queue", "work")}
    if counts == {0}:
        return None, None
    assert counts == {1}
    return value(metrics, "hop_seconds_sum", hop="queue"), value(metrics, "hop_seconds_sum", hop="work")


def test_queue_and_work_are_told_apart_by_the_clock_of_the_service_alone() -> None:
    for clock in (NOW, NOW - 86_400, NOW + 86_400, 1.0):
        assert divided(clock + 7, clock + 7.125) == (0.375, 0.125)


def test_work_may_begin_before_the_confirm_and_the_queue_then_took_nothing() -> None:
    assert divided(NOW, NOW + 0.75) == (0.0, 0.75)


def test_a_clock_of_a_service_that_was_set_meanwhile_does_no_harm() -> None:
    assert divided(NOW, NOW - 3600) == (None, None)
    assert divided(NOW, NOW + 3600) == (0.0, 1.5), "no longer than the call is old"


def test_a_reply_without_times_is_not_divided() -> None:
    metrics = Metrics()
    metrics.trip.claimed(NOW, [call()])
    metrics.trip.replied(NOW, [(ID, Reply(str(ID), b""))])
    assert value(metrics, "hop_seconds_count", hop="consumer") == 1
    for hop in ("queue", "work"):
        assert value(metrics, "hop_seconds_count", hop=hop) == 0


def test_what_is_asked_again_is_measured_from_then_on() -> None:
    metrics = Metrics()
    metrics.trip.claimed(NOW, [call()])
    metrics.trip.published(NOW, [call()])
    metrics.trip.published(NOW + 1, [call()])
    metrics.trip.replied(NOW + 1.5, [(ID, Reply(str(ID), b""))])
    assert value(metrics, "hop_seconds_sum", hop="consumer") == 0.5


def test_a_consumer_fails_where_it_rejects_or_gives_no_reply_in_time() -> None:
    metrics = Metrics()
    for outcome in Outcome:
        resume(metrics, "e", outcome)
    assert value(metrics, "hop_errors_total", hop="consumer") == 2
    assert value(metrics, "deadline_used_ratio_count", event="e") == 4, "decided, timeout, failed, operator"


def test_the_share_of_the_deadline_and_what_is_late() -> None:
    metrics = Metrics()
    resume(metrics, "e", after=0.5)
    assert value(metrics, "deadline_used_ratio_bucket", event="e", le="0.25") == 1
    assert value(metrics, "deadline_used_ratio_bucket", event="e", le="0.1") == 0
    assert value(metrics, "resume_late_seconds_count") == 0
    resume(metrics, "e", Outcome.TIMEOUT, after=2.75)
    assert value(metrics, "deadline_used_ratio_bucket", event="e", le="1.0") == 1
    assert value(metrics, "deadline_used_ratio_bucket", event="e", le="+Inf") == 2
    assert value(metrics, "resume_late_seconds_sum") == 0.75


def test_a_deadline_that_is_over_when_the_event_comes_is_used_up() -> None:
    metrics = Metrics()
    metrics.trip.resumed(NOW, call(deadline=0.0), Outcome.TIMEOUT, 0.0)
    assert value(metrics, "deadline_used_ratio_sum", event="e") == 1.0


def test_a_bound_is_part_of_its_bucket() -> None:
    metrics = Metrics()
    for bound in SECONDS:
        metrics.trip.hop("claim", bound)
    metrics.trip.hop("claim", 1000.0)
    metrics.trip.hop("claim", -1.0)  # a clock that was set back
    found = [value(metrics, "hop_seconds_bucket", hop="claim", le=str(bound)) for bound in SECONDS]
    assert found == [number + 2 for number in range(len(SECONDS))]
    assert value(metrics, "hop_seconds_bucket", hop="claim", le="+Inf") == len(SECONDS) + 2
    assert value(metrics, "hop_seconds_count", hop="claim") == len(SECONDS) + 2


def test_the_oldest_in_flight_by_node() -> None:
    metrics = Metrics()
    other = TransactionId("sbc2", 1, 2, 1)
    metrics.trip.claimed(NOW, [call(), call(id_=other)])
    metrics.measure(["sbc1", "sbc2", "sbc3"], NOW + 1.5)
    assert value(metrics, "in_flight_oldest_seconds", node="sbc1") == 1.5
    assert value(metrics, "in_flight_oldest_seconds", node="sbc3") == 0
    resume(metrics, "e")
    metrics.measure(["sbc1", "sbc2"], NOW + 2)
    assert value(metrics, "in_flight_oldest_seconds", node="sbc1") == 0
    assert value(metrics, "in_flight_oldest_seconds", node="sbc2") == 2


def test_what_another_replica_must_have_answered_is_forgotten() -> None:
    metrics = Metrics()
    metrics.trip.claimed(NOW, [call(deadline=1.0)])
    metrics.trip.published(NOW, [call()])
    metrics.trip.tick(NOW + 5.9)
    metrics.measure(["sbc1"], NOW + 5.9)
    assert value(metrics, "in_flight_oldest_seconds", node="sbc1") is not None
    assert len(metrics.trip._waiting) == 1
    metrics.measure(["sbc1"], NOW + 6.1)
    assert value(metrics, "in_flight_oldest_seconds", node="sbc1") == 0, "looked at before it is forgotten"
    metrics.trip.tick(NOW + 6.1)
    assert (len(metrics.trip._waiting), metrics.trip._waiting._asked) == (0, {})


def test_a_long_deadline_hides_nobody_behind_it() -> None:
    metrics = Metrics()
    late = TransactionId("sbc1", 1, 3, 1)
    metrics.trip.claimed(NOW, [call(deadline=60.0), call(deadline=1.0, id_=late)])
    resume(metrics, "e")
    metrics.trip.tick(NOW + 30)
    assert len(metrics.trip._waiting) == 0


def test_every_count_of_a_broker_has_a_name_and_a_help_text() -> None:
    assert {field.name for field in fields(Counters)} | set(EmbeddedBroker([]).counts) == set(_BROKER)
    metrics = Metrics()
    assert value(metrics, "broker_published_total") == 0
    metrics.process.broker_counted({"published": 3})
    metrics.process.broker_counted({"published": 5})
    assert value(metrics, "broker_published_total") == 5
    assert "# TYPE evapi_broker_published_total counter" in generate_latest(metrics.registry).decode()


def test_a_receipt_takes_from_its_sync_on() -> None:
    metrics = Metrics()
    read: list[TransactionId] = []
    writer = Window(read.extend)
    writer.on_receipt = partial(metrics.trip.hop, "receipt")
    writer.connected("link", 0)
    writer.receipts = True
    writer.put(Outgoing(b"2:{},", 100.0, ID))
    assert len(writer.take(10.0)) == 1
    (sync,) = writer.take(10.5)
    assert b"link:1" in sync
    writer.synced("link:2", 10.6)  # of nothing
    assert value(metrics, "hop_seconds_count", hop="receipt") == 0
    writer.synced("link:1", 10.75)
    assert (value(metrics, "hop_seconds_sum", hop="receipt"), read) == (0.25, [ID])


def test_this_process_is_measured_too() -> None:
    metrics = Metrics()
    assert metrics.registry.get_sample_value("process_resident_memory_bytes") > 1e6  # type: ignore[operator]
    assert metrics.registry.get_sample_value("process_start_time_seconds") > 1e9  # type: ignore[operator]


def test_names_follow_the_conventions() -> None:
    for family in Metrics().registry.collect():
        if family.name.startswith("evapi_"):
            assert family.documentation.endswith("."), family.name
            assert not family.name.endswith(("_ms", "_count", "_total", "_kb")), family.name
            if family.type == "histogram":
                assert family.name.endswith(("_seconds", "_ratio")), family.name


def exemplars(metrics: Metrics) -> dict[tuple[str, str], tuple[str, float, float]]:
    """By series and bucket: trace, amount and time, as a scrape by OpenMetrics has them."""
    text = generate_openmetrics(metrics.registry).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (each.name, each.labels["le"]): (
            each.exemplar.labels["trace_id"],
            each.exemplar.value,
            float(each.exemplar.timestamp),
        )
        for each in samples
        if each.exemplar
    }


def test_a_traced_call_is_named_beside_the_buckets_that_it_is_in() -> None:
    metrics = Metrics()
    for trace, after in (("a" * 32, 0.15), ("b" * 32, 0.2), ("c" * 32, 3.0)):
        resume(metrics, "e", after=after)
        metrics.trip.exemplify(call("e"), Outcome.DECIDED, NOW + after, after, trace)
    metrics.trip.hop("publish", 0.003)
    metrics.trip.exemplify_hop("publish", 0.003, NOW, "d" * 32)
    for status, seconds, trace in (("decided", 0.03, "e"), ("unroutable", 0.3, "f")):
        metrics.courses.stepped(NOW, call("e").id, "e", "lcr", status, seconds)
        metrics.exemplify_service("lcr", status, seconds, NOW, trace * 32)
    assert exemplars(metrics) == {
        ("evapi_service_seconds_bucket", "0.05"): ("e" * 32, 0.03, NOW),
        ("evapi_decision_seconds_bucket", "0.2"): ("b" * 32, 0.2, NOW + 0.2),
        ("evapi_decision_seconds_bucket", "4.0"): ("c" * 32, 3.0, NOW + 3.0),
        ("evapi_resume_late_seconds_bucket", "1.0"): ("c" * 32, 1.0, NOW + 3.0),
        ("evapi_hop_seconds_bucket", "0.005"): ("d" * 32, 0.003, NOW),
    }
    assert b"trace_id" not in generate_latest(metrics.registry), "the older format has no exemplars"


def test_hops_and_what_they_failed_are_counted() -> None:
    metrics = Metrics()
    metrics.trip.hop("settle", 0.375)
    metrics.trip.failed("publish", 3)
    value = metrics.registry.get_sample_value
    assert value("evapi_hop_seconds_sum", {"hop": "settle"}) == 0.375
    assert value("evapi_hop_errors_total", {"hop": "publish"}) == 3

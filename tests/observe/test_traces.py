"""One trace for each call, whichever replicas it meets."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from adapter.amqp.urls import messaging
from adapter.errors import SettingsError
from adapter.model.correlation import Ids
from adapter.model.transaction import Outcome, State, Transaction, TransactionId
from adapter.observe import traces
from adapter.observe.traces import Traces
from adapter.ports.broker import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_790_000_000.0


class Span(NamedTuple):
    trace_id: int
    span_id: int
    parent: int | None
    name: str
    start: float
    end: float
    attributes: Mapping[str, str] | None = None
    kind: str = "internal"
    error: str | None = None


class Spans:
    def __init__(self) -> None:
        self.made: list[Span] = []
        self.closed = False

    def span(self, *told: Any) -> None:
        self.made.append(Span(*told))

    def close(self) -> None:
        self.closed = True


class Exemplars:
    """Keeps the traces that it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def exemplify(self, *about: Any) -> None:
        self.told.append(about[-1])

    def exemplify_hop(self, *about: Any) -> None:
        self.told.append(about[-1])

    def exemplify_service(self, *about: Any) -> None:
        self.told.append(about[-1])


class Replica:
    """One that traces, on a clock by hand."""

    def __init__(self, name: str = "r1", share: float = 1.0) -> None:
        self.now = NOW
        self.spans = Spans()
        self.exemplars = Exemplars()
        about = messaging("amqp://u:p@rabbit/v")
        self.traces = Traces(
            share, name, self.spans, self.exemplars, lambda: self.now, messaging=lambda: about
        )

    def publish(self, transaction: Transaction, seconds: float = 0.25) -> str:
        """Have it published; gives what the consumer is told."""
        told = self.traces.traceparent(transaction)
        self.now += seconds
        self.traces.published(self.now, [transaction])
        return told

    def resume(self, transaction: Transaction, outcome: Outcome = Outcome.DECIDED) -> str:
        """Have it resumed; gives what Kamailio is told."""
        ended = replace(transaction, state=State.SETTLED, outcome=outcome, request=b"")
        told = self.traces.traceparent(ended)
        self.traces.resumed(self.now, ended, outcome, 0.5)
        return told

    def made(self, name: str) -> Span:
        """The only span of that name."""
        (found,) = [span for span in self.spans.made if span.name == name]
        return found


def call(
    label: int = 7, seq: int = 1, call_id: str = "abc@host", event: str = "invite_request"
) -> Transaction:
    id_ = TransactionId("sbc1", 37, label, seq)
    return Transaction(id_, event, NOW + 2.0, NOW - 0.5, b"request", "r1", call_id=call_id)


def parts(traceparent: str) -> tuple[int, int]:
    """The ids of trace and parent of one that says that it is sampled."""
    version, trace_id, span_id, flags = traceparent.split("-")
    assert (version, len(trace_id), len(span_id), flags) == ("00", 32, 16, "01")
    return int(trace_id, 16), int(span_id, 16)


def test_the_spans_of_a_call() -> None:
    replica, asked = Replica(), call()
    trace_id, publication = parts(replica.publish(asked))
    replica.now += 1
    replica.traces.replied(replica.now, [(asked.id, Reply(str(asked.id), b"{}", service="lcr"))])
    replica.now += 0.125
    told = parts(replica.resume(asked))
    publish, resume, whole = replica.spans.made
    assert told == (trace_id, whole.span_id)
    assert {span.trace_id for span in replica.spans.made} == {trace_id}
    assert (publish.name, publish.span_id, publish.parent) == ("publish", publication, whole.span_id)
    assert (publish.start, publish.end, publish.kind, publish.error) == (NOW, NOW + 0.25, "producer", None)
    assert publish.attributes is not None
    assert publish.attributes == {
        "messaging.system": "rabbitmq",
        "server.address": "rabbit",
        "server.port": 5672,
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "evapi.events:invite_request.sbc1",
        "messaging.rabbitmq.destination.routing_key": "invite_request.sbc1",
        "messaging.message.conversation_id": "sbc1:37:7:1",
        "evapi.replica": "r1",
    }
    assert (resume.name, resume.parent) == ("resume", whole.span_id)
    assert (resume.start, resume.end) == (NOW + 1.25, NOW + 1.375)
    assert (whole.name, whole.parent, whole.kind, whole.error) == (
        "evapi invite_request",
        None,
        "server",
        None,
    )
    assert (whole.start, whole.end) == (NOW - 0.5, NOW + 1.375)
    assert whole.attributes == {
        "sip.call_id": "abc@host",
        "evapi.node": "sbc1",
        "evapi.event": "invite_request",
        "evapi.outcome": "decided",
        "evapi.correlation_id": "sbc1:37:7:1",
        "evapi.replica": "r1",
        "evapi.service": "lcr",
    }
    assert len({span.span_id for span in replica.spans.made}) == 3
    assert repr(replica.traces) == "<Traces 0 unconfirmed, 0 unresumed>"


def test_the_spans_of_a_call_that_several_services_decide() -> None:
    replica, asked = Replica(), call()
    told = [parts(replica.traces.traceparent(asked, f"evapi.decide.{each}")) for each in ("fraud", "lcr")]
    replica.now += 0.125
    replica.traces.published(replica.now, [asked])
    replica.now += 0.375
    replica.traces.stepped(replica.now, asked.id, asked.event, "lcr", "decided", 0.5)
    replica.now += 0.5
    replica.traces.stepped(replica.now, asked.id, asked.event, "fraud", "timeout", 1.0)
    replica.traces.stepped(replica.now, asked.id, asked.event, "", "backup", 1.5)
    replica.resume(asked)
    fraud, lcr, ask_lcr, ask_fraud, _, whole = replica.spans.made
    assert {span.trace_id for span in replica.spans.made} == {told[0][0]}
    assert [fraud.span_id, lcr.span_id] == [each[1] for each in told], "each consumer has a parent of its own"
    queues = []
    for publish in (fraud, lcr):
        assert (publish.name, publish.start, publish.end, publish.error) == (
            *("publish", NOW, NOW + 0.125),
            None,
        )
        assert publish.attributes is not None
        queue = publish.attributes["messaging.rabbitmq.destination.routing_key"]
        assert publish.attributes["messaging.destination.name"] == queue, "by the exchange without a name"
        queues.append(queue)
    assert queues == ["evapi.decide.fraud", "evapi.decide.lcr"]
    assert (ask_lcr.name, ask_lcr.parent, ask_lcr.kind) == ("ask lcr", whole.span_id, "client")
    assert (ask_lcr.start, ask_lcr.end, ask_lcr.error) == (NOW, NOW + 0.5, None)
    assert ask_lcr.attributes == {
        "evapi.service": "lcr",
        "evapi.status": "decided",
        "evapi.replica": "r1",
    }
    assert (ask_fraud.name, ask_fraud.start, ask_fraud.end, ask_fraud.error) == (
        *("ask fraud", NOW, NOW + 1.0),
        "timeout",
    )
    assert ask_fraud.attributes is not None
    assert ask_fraud.attributes["error.type"] == "timeout"
    assert whole.attributes is not None
    assert whole.attributes["evapi.step"] == "backup"


def test_a_service_without_a_queue_is_published_to_in_vain() -> None:
    replica, asked = Replica(), call()
    for queue in ("evapi.decide.fraud", "", "evapi.decide.lcr"):
        replica.traces.traceparent(asked, queue)
    replica.traces.stepped(NOW, asked.id, asked.event, "fraud", "unroutable", 0.0)
    replica.traces.stepped(NOW, asked.id, asked.event, "", "unavailable", 0.0)
    replica.traces.published(NOW, [asked])
    assert [(span.name, span.error) for span in replica.spans.made] == [
        ("publish", "unroutable"),
        ("ask fraud", "unroutable"),
        ("publish", "unavailable"),
        ("ask anybody", "unavailable"),
        ("publish", None),
    ]


def test_a_service_that_is_not_asked_has_no_publication() -> None:
    replica, asked = Replica(), call()
    replica.publish(asked)
    replica.traces.stepped(replica.now, asked.id, asked.event, "fraud", "unavailable", 0.0)
    assert [span.name for span in replica.spans.made] == ["publish", "ask fraud"]


def test_steps_of_a_call_that_is_not_traced_or_over_make_no_span() -> None:
    replica, none = Replica(), Replica(share=0.0)
    none.publish(call())
    replica.publish(call())
    replica.resume(call())
    made = len(replica.spans.made)
    for each in (replica, none):
        each.traces.stepped(NOW, call().id, "invite_request", "fraud", "decided", 0.5)
    assert (len(replica.spans.made), none.spans.made) == (made, [])


def test_two_questions_about_one_call_are_one_trace_on_any_replica() -> None:
    first, second = Replica("r1"), Replica("r2")
    one = parts(first.publish(call()))[0]
    assert parts(second.publish(call(label=8, seq=2, event="screening_request")))[0] == one
    assert parts(second.publish(call(call_id="other@host")))[0] != one
    node = replace(call(), id=TransactionId("sbc2", 37, 7, 1))
    assert parts(second.publish(node))[0] != one


def test_without_a_call_id_the_transaction_is_the_call() -> None:
    replica = Replica()
    one = parts(replica.publish(call(call_id="")))[0]
    assert parts(replica.publish(call(seq=2, call_id="")))[0] == one
    assert parts(replica.publish(call(label=8, call_id="")))[0] != one
    replica.resume(call(call_id=""))
    whole = replica.made("evapi invite_request").attributes
    assert whole is not None
    assert "sip.call_id" not in whole


def test_another_replica_may_write_the_resume() -> None:
    first, second, asked = Replica("r1"), Replica("r2"), call()
    trace_id, publication = parts(first.publish(asked))
    second.traces.replied(NOW, [(asked.id, Reply(str(asked.id), b"{}"))])
    second.resume(asked)
    whole = second.made("evapi invite_request")
    publish = first.made("publish")
    assert (publish.trace_id, publish.span_id, publish.parent) == (trace_id, publication, whole.span_id)
    assert [span.name for span in first.spans.made] == ["publish"]
    assert [span.name for span in second.spans.made] == ["resume", "evapi invite_request"]


def test_what_is_published_again_has_another_span() -> None:
    replica, asked = Replica(), call()
    assert parts(replica.publish(asked))[1] != parts(replica.publish(asked))[1]


def test_a_publication_that_is_not_confirmed_failed() -> None:
    replica = Replica()
    _, publication = parts(replica.traces.traceparent(call()))
    replica.resume(call(), Outcome.UNROUTABLE)
    publish = replica.made("publish")
    assert (publish.span_id, publish.error) == (publication, "unroutable")
    whole = replica.made("evapi invite_request")
    assert whole.error == "unroutable"
    for span in (publish, whole):
        assert span.attributes is not None
        assert span.attributes["error.type"] == "unroutable"


def test_one_that_was_decided_before_it_was_confirmed_is_told() -> None:
    replica = Replica()
    replica.traces.traceparent(call())
    replica.resume(call(), Outcome.DECIDED)
    assert replica.made("publish").error == "unconfirmed"


def test_the_resume_after_a_timeout_begins_at_the_deadline() -> None:
    replica = Replica()
    replica.publish(call())
    replica.now = NOW + 2.5
    replica.resume(call(), Outcome.TIMEOUT)
    resume = replica.made("resume")
    assert (resume.start, resume.end) == (NOW + 2.0, NOW + 2.5)


def test_a_resume_that_is_written_again_is_no_second_call() -> None:
    replica = Replica()
    replica.publish(call())
    for _ in range(2):
        replica.resume(call())
    assert [span.name for span in replica.spans.made] == [
        "publish",
        "resume",
        "evapi invite_request",
        "resume",
    ]


def test_clocks_that_differ_make_no_span_end_before_it_began() -> None:
    replica = Replica()
    replica.now = NOW - 5
    replica.resume(call(), Outcome.OPERATOR)
    whole = replica.made("evapi invite_request")
    assert (whole.start, whole.end, whole.error) == (NOW - 5, NOW - 5, None)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_the_calls_is_traced_and_all_agree_which(share: float) -> None:
    first, second = Replica("r1", share), Replica("r2", share)
    calls = [call(number, call_id=f"{number}@host") for number in range(2000)]
    traced = [asked for asked in calls if first.publish(asked)]
    assert abs(len(traced) - 2000 * share) < 100
    assert [asked for asked in calls if second.resume(asked)] == traced
    assert len(first.spans.made) == len(traced)
    assert len(second.spans.made) == 2 * len(traced)


def test_the_trace_of_a_traced_call_is_given_to_metrics() -> None:
    some, none = Replica(), Replica(share=0.0)
    trace_id, _ = parts(some.traces.traceparent(call()))
    some.traces.published(NOW, [call(), call(8)])
    some.traces.published(NOW, [call()])  # confirmed before: not again
    for _ in range(2):
        some.traces.resumed(NOW, call(), Outcome.DECIDED, 0.5)
    assert some.exemplars.told == [f"{trace_id:032x}"] * 3
    some.traces.traceparent(call(), "evapi.decide.lcr")
    some.traces.stepped(NOW, call().id, "e", "lcr", "decided", 0.5)
    assert some.exemplars.told == [f"{trace_id:032x}"] * 4
    assert none.traces.traceparent(call()) == ""
    none.traces.published(NOW, [call()])
    none.traces.resumed(NOW, call(), Outcome.DECIDED, 0.5)
    assert none.exemplars.told == []


def test_a_smaller_share_is_a_part_of_a_larger_one() -> None:
    calls = [call(number, call_id=f"{number}@host") for number in range(200)]
    some, more = Replica(share=0.2), Replica(share=0.6)
    assert {c.id for c in calls if some.publish(c)} < {c.id for c in calls if more.publish(c)}


def test_what_is_remembered_is_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MOST", 3)
    replica = Replica()
    for number in range(5):
        replica.traces.traceparent(call(number))
        replica.traces.replied(NOW, [(call(number).id, Reply("", b""))])
        replica.traces.stepped(NOW, call(number).id, "invite_request", "", "service", 0.5)
    assert len(replica.traces._steps) == len(replica.traces._asked) == 3
    assert repr(replica.traces) == "<Traces 3 unconfirmed, 3 unresumed>"
    for number in range(5):
        replica.resume(call(number))
    assert repr(replica.traces) == "<Traces 0 unconfirmed, 0 unresumed>"
    assert (replica.traces._steps, replica.traces._asked) == ({}, {})


def test_a_call_id_may_be_any_text() -> None:
    assert Replica().publish(call(call_id="\ud800 \0 é"))


def test_where_nothing_is_traced_nothing_is_made() -> None:
    assert traces.start(0.0, "r1", Exemplars(), time.time, Ids()) is None


def test_without_the_extra_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "consumers.exporting", None)
    with pytest.raises(SettingsError, match=r"EVAPI_TRACES: .*pip install evapi-adapter\[otel\]"):
        traces.start(0.5, "r1", Exemplars(), time.time, Ids())


def test_what_opentelemetry_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(SettingsError, match=r"EVAPI_TRACES: OpenTelemetry's variables .* max_queue_size"):
        traces.start(0.5, "r1", Exemplars(), time.time, Ids())


def test_a_bridge_without_traces_does_not_load_opentelemetry() -> None:
    code = "import sys, adapter.app, adapter.observe.traces, consumers.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "adapter.observe.traces" in loaded
    assert not [name for name in loaded if name.startswith("opentelemetry")]


def test_it_ends_with_its_exporter() -> None:
    replica = Replica()
    replica.traces.close()
    assert replica.spans.closed

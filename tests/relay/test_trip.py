"""The trip of one suspension, by outcome: each row of the outcome table, and what is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapter import contract
from adapter.cluster.role import RETURN_WAIT
from adapter.evapi.link import PLAIN_MAX
from adapter.model.transaction import RESEND_FOR, Outcome, State
from adapter.ports.broker import Publication, Published
from adapter.relay.plan import Plan
from adapter.relay.policy import Policy, parse
from adapter.relay.policy_keys import MAX_FALLBACK
from adapter.wire import netstring
from adapter.wire.event import Suspended
from tests.relay_bench import FALLBACK, NOW, Bench, id_of, reply, suspended

ROUTE = {"action": "route", "uri": "sip:gw7.example.net"}


@pytest.fixture
async def bench() -> Bench:
    return Bench()


class TestDecided:
    async def test_the_request_is_published_once_it_is_claimed(self, bench: Bench) -> None:
        await bench.events(Suspended("invite_request", 37, 1840980198, 2, {"ruri": "sip:1@x"}))
        (publication,) = bench.broker.published
        assert publication == Publication(
            "invite_request", "sbc1", publication.body, "sbc1:37:1840980198:2", NOW + 2.0
        )
        assert contract.decode_request(publication.body) == contract.Request(
            "invite_request", "sbc1", {"ruri": "sip:1@x"}, 37, 1840980198, 2, NOW + 2.0
        )
        record = await bench.record(id_of(1840980198, 2))
        assert record is not None
        assert (record.state, record.request, record.owner) == (State.CLAIMED, publication.body, "r1")
        assert bench.links.sent == []
        assert bench.counted("events_total", node="sbc1", kind="suspended") == 1

    async def test_the_resume_is_the_frame_of_the_contract(self, bench: Bench) -> None:
        await bench.events(suspended(1840980198))
        bench.now += 0.5
        await bench.reply(reply(1840980198, decision=ROUTE))
        ((node, payload, wait, id_),) = bench.links.sent
        assert (node, id_, wait) == ("sbc1", id_of(1840980198), 1.5 + RESEND_FOR)
        assert payload == (
            b'{"tm_trans":{"tm_index":37,"tm_label":1840980198,"seq":1},"event":"invite_request",'
            b'"outcome":"decided","correlation_id":"sbc1:37:1840980198:1",'
            b'"decision":{"action":"route","uri":"sip:gw7.example.net"}}'
        )
        labels = {"node": "sbc1", "event": "invite_request", "outcome": "decided"}
        assert bench.counted("outcomes_total", **labels) == 1
        assert bench.counted("decision_seconds_count", outcome="decided") == 1
        assert bench.counted("decision_seconds_sum", outcome="decided") == 0.5
        assert await bench.state(id_of(1840980198)) is State.SETTLED

    async def test_a_json_reply(self, bench: Bench) -> None:
        await bench.events(suspended())
        body = json.dumps(ROUTE).encode()
        await bench.reply(reply(body=body, content_type="application/json; charset=utf-8"))
        assert bench.links.frames[0]["decision"] == ROUTE

    async def test_with_the_receipt_it_is_over_and_only_the_id_is_remembered(self, bench: Bench) -> None:
        await bench.events(suspended())
        await bench.reply(reply())
        await bench.read(id_of())
        assert await bench.record(id_of()) is None
        await bench.events(suspended())
        assert len(bench.broker.published) == 1
        assert bench.counted("duplicate_events_total", node="sbc1") == 1

    async def test_the_resume_is_of_use_for_a_while_even_past_the_deadline(self, bench: Bench) -> None:
        await bench.events(suspended())
        bench.now += 5.0
        await bench.reply(reply())
        assert bench.links.sent[0][2] == RESEND_FOR

    async def test_bytes_and_any_text_come_through(self, bench: Bench) -> None:
        await bench.events(
            suspended(1, data=b"\xff\x00"), suspended(2, event='é "\\ event', data={"n": "é\0"})
        )
        first, second = (contract.decode_request(each.body) for each in bench.broker.published)
        assert first.data == b"\xff\x00"
        assert (second.event, second.data) == ('é "\\ event', {"n": "é\0"})
        await bench.reply(reply(1), reply(2, decision={"reason": 'é "\\ \u2028'}))
        assert bench.links.frames[1]["event"] == 'é "\\ event'
        assert bench.links.frames[1]["decision"] == {"reason": 'é "\\ \u2028'}


class TestTimeout:
    async def test_the_fallback_at_the_deadline_and_not_before(self, bench: Bench) -> None:
        await bench.events(suspended())
        bench.now += 1.999
        await bench.trip.expire("sbc1")
        assert bench.links.sent == []
        bench.now += 0.001
        await bench.trip.expire("sbc1")
        await bench.trip.expire("sbc1")
        (frame,) = bench.links.frames
        assert (frame["outcome"], frame["decision"]) == ("timeout", FALLBACK)
        labels = {"node": "sbc1", "event": "invite_request", "outcome": "timeout"}
        assert bench.counted("outcomes_total", **labels) == 1
        assert bench.counted("decision_seconds_sum", outcome="timeout") == 2.0

    async def test_the_reply_after_it_is_late(self, bench: Bench) -> None:
        await bench.events(suspended())
        bench.now += 2.0
        await bench.trip.expire("sbc1")
        await bench.reply(reply())
        assert len(bench.links.sent) == 1
        assert bench.counted("late_replies_total", node="sbc1") == 1

    async def test_deadline_and_fallback_are_those_of_the_event(self) -> None:
        policy = parse({"events": {"slow": {"deadline": 9.0, "fallback": {"action": "allow"}}}})
        bench = Bench(policy)
        await bench.events(suspended(1), suspended(2, event="slow"))
        assert [each.deadline for each in bench.broker.published] == [NOW + 2.0, NOW + 9.0]
        bench.now += 9.0
        await bench.trip.expire("sbc1")
        assert [frame["decision"] for frame in bench.links.frames] == [FALLBACK, {"action": "allow"}]


class TestRefusedByTheBroker:
    @pytest.mark.parametrize(
        ("result", "outcome"),
        [(Published.UNROUTABLE, "unroutable"), (Published.REFUSED, "unavailable")],
    )
    async def test_the_fallback_at_once_and_only_for_what_was_refused(
        self, bench: Bench, result: Published, outcome: str
    ) -> None:
        bench.broker.answers["other"] = result
        await bench.events(suspended(1), suspended(2, event="other"), suspended(3))
        (frame,) = bench.links.frames
        assert (frame["tm_trans"]["tm_label"], frame["outcome"]) == (2, outcome)
        assert frame["decision"] == FALLBACK
        assert await bench.state(id_of(2)) is State.SETTLED
        await bench.reply(reply(1), reply(2), reply(3))
        assert bench.outcomes == [(2, outcome), (1, "decided"), (3, "decided")]
        assert bench.counted("late_replies_total", node="sbc1") == 1

    async def test_an_answer_that_was_first_stands_and_nothing_was_late(self, bench: Bench) -> None:
        """The broker said no too late: the request had come through."""
        bench.broker.answers["invite_request"] = Published.REFUSED
        publish = bench.broker.publish

        async def publish_and_reply(publications: list[Publication]) -> list[Published]:
            results = await publish(publications)
            await bench.trip.on_replies([reply()])
            return results

        bench.broker.publish = publish_and_reply  # type: ignore[method-assign, assignment]
        await bench.events(suspended())
        assert bench.outcomes == [(1, "decided")]
        assert bench.counted("late_replies_total", node="sbc1") == 0

    async def test_with_no_broker_it_is_claimed_as_settled_and_not_published(self) -> None:
        bench = Bench(Policy(in_flight=1))
        bench.broker.ready = False
        await bench.events(suspended(1), suspended(2))
        await bench.tick(RETURN_WAIT)
        assert bench.outcomes == [(1, "unavailable"), (2, "unavailable")]
        assert bench.broker.published == []
        record = await bench.record(id_of(1))
        assert record is not None
        assert (record.state, record.outcome, record.request) == (State.SETTLED, Outcome.UNAVAILABLE, b"")
        await bench.events(suspended(1))
        assert len(bench.links.sent) == 2
        assert bench.counted("duplicate_events_total", node="sbc1") == 1


class TestOverload:
    async def test_beyond_the_limit_of_the_node_it_is_answered_at_once(self) -> None:
        bench = Bench(Policy(in_flight=2), nodes=("sbc1", "sbc2"))
        await bench.events(suspended(1), suspended(2), suspended(3))
        await bench.events(suspended(4))
        await bench.events(suspended(5), node="sbc2")
        assert bench.outcomes == [(3, "overload"), (4, "overload")]
        assert [each.correlation_id for each in bench.broker.published] == [
            str(id_of(1)),
            str(id_of(2)),
            str(id_of(5, node="sbc2")),
        ]
        await bench.reply(reply(1), reply(3))
        await bench.events(suspended(6))
        assert bench.outcomes == [(3, "overload"), (4, "overload"), (1, "decided")]
        assert bench.links.frames[0]["decision"] == FALLBACK
        assert bench.counted("outcomes_total", node="sbc1", event="invite_request", outcome="overload") == 2

    async def test_the_emergency_lane_has_places_of_its_own_beyond_it(self) -> None:
        urgent = {"emergency_request": {"emergency": True}}
        bench = Bench(parse({"limits": {"in_flight": 2, "emergency": 1}, "events": urgent}))
        await bench.events(suspended(1), suspended(2), suspended(3))
        await bench.events(suspended(4, event="emergency_request"))
        await bench.events(suspended(5, event="emergency_request"), suspended(6))
        assert bench.outcomes == [(3, "overload"), (5, "overload"), (6, "overload")]
        assert bench.broker.asked == [str(id_of(label)) for label in (1, 2, 4)]
        await bench.reply(reply(1))
        await bench.events(suspended(7), suspended(8, event="emergency_request"))
        assert bench.outcomes[-1] == (7, "overload"), "the one place that is free is the emergency's"
        assert bench.broker.asked[-1] == str(id_of(8))

    async def test_in_one_read_the_emergency_is_first_whatever_the_order(self) -> None:
        urgent = {"emergency_request": {"emergency": True}}
        bench = Bench(parse({"limits": {"in_flight": 1, "emergency": 0}, "events": urgent}))
        await bench.events(suspended(1), suspended(2, event="emergency_request"))
        assert bench.broker.asked == [str(id_of(2))]
        assert bench.outcomes == [(1, "overload")]


class TestFailed:
    async def test_a_consumer_that_says_so(self, bench: Bench) -> None:
        await bench.events(suspended())
        await bench.reply(reply(status="failed", body=b"whatever", content_type=None))
        (frame,) = bench.links.frames
        assert (frame["outcome"], frame["decision"]) == ("failed", FALLBACK)
        assert bench.broker.letters == []

    async def test_the_log_says_why(self, bench: Bench) -> None:
        await bench.events(suspended())
        with capture_logs() as logs:
            await bench.reply(reply(status="failed", service="screening", detail="user: Field required"))
        (told,) = [entry for entry in logs if entry["event"] == "request failed"]
        assert (told["service"], told["detail"]) == ("screening", "user: Field required")

    async def test_of_many_a_second_the_log_shows_some_and_says_how_many_it_left_out(
        self, bench: Bench
    ) -> None:
        with capture_logs() as logs:
            await bench.reply(*[reply(index, status="failed") for index in range(30)])
            bench.now += 1.5
            await bench.reply(reply(31, status="failed"))
        told = [entry.get("not_shown") for entry in logs if entry["event"] == "request failed"]
        assert told == [None] * 20 + [10]

    @pytest.mark.parametrize("why", ["rejected", "delivery_limit", "maxlen"])
    async def test_a_request_that_the_broker_gave_up(self, bench: Bench, why: str) -> None:
        await bench.events(suspended())
        await bench.reply(reply(rejected=why, body=bench.broker.published[0].body))
        assert bench.outcomes == [(1, "failed")]
        assert bench.counted("outcomes_total", node="sbc1", event="invite_request", outcome="failed") == 1


class TestOversized:
    async def test_a_decision_of_40_kb(self, bench: Bench) -> None:
        await bench.events(suspended())
        await bench.reply(reply(decision={"x": "y" * 40_000}))
        (frame,) = bench.links.frames
        assert (frame["outcome"], frame["decision"]) == ("oversized", FALLBACK)
        record = await bench.record(id_of())
        assert record is not None
        assert (record.outcome, record.decision) == (Outcome.OVERSIZED, None), "it is not worth keeping"
        assert bench.counted("outcomes_total", node="sbc1", event="invite_request", outcome="oversized") == 1
        assert bench.counted("decision_seconds_count", outcome="oversized") == 1
        assert bench.counted("decision_seconds_count", outcome="decided") == 0

    async def test_a_body_of_2_mb_is_not_even_read(self, bench: Bench) -> None:
        await bench.events(suspended())
        await bench.reply(reply(body=b"\xc1" * (2 << 20)))
        assert bench.outcomes == [(1, "oversized")]
        assert bench.broker.letters == []

    async def test_the_last_byte_that_fits(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        await bench.reply(reply(1, decision={"x": ""}))
        room = netstring.MAX_OUT - len(bench.links.sent[0][1])
        await bench.events(suspended(2), suspended(3))
        await bench.reply(reply(2, decision={"x": "y" * room}), reply(3, decision={"x": "y" * (room + 1)}))
        assert bench.outcomes[1:] == [(2, "decided"), (3, "oversized")]
        assert len(bench.links.sent[1][1]) == netstring.MAX_OUT

    async def test_it_is_the_size_in_utf_8_that_counts(self, bench: Bench) -> None:
        await bench.events(suspended())
        await bench.reply(reply(decision={"x": "\N{PILE OF POO}" * 8_000}))
        assert bench.outcomes == [(1, "oversized")]

    async def test_a_configuration_without_hello_takes_less(self, bench: Bench) -> None:
        bench.links.longest = PLAIN_MAX
        await bench.events(suspended(1), suspended(2))
        await bench.reply(reply(1, decision={"x": "y" * 7_000}), reply(2, decision={"x": "y" * 8_000}))
        assert bench.outcomes == [(1, "decided"), (2, "oversized")]

    async def test_the_longest_fallback_fits_with_the_longest_names_and_the_least_room(self) -> None:
        fallback = b'{"x":"' + b"y" * (MAX_FALLBACK - 8) + b'"}'
        node, event = "n" * 100, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 60
        bench = Bench(Policy(Plan(fallback=fallback)), nodes=(node,))
        bench.links.longest = PLAIN_MAX
        bench.broker.ready = False
        await bench.events(Suspended(event, 2**32 - 1, 2**32 - 1, 2**32 - 1, {}), node=node)
        await bench.tick(RETURN_WAIT)
        assert bench.links.frames[0]["outcome"] == "unavailable"
        assert len(bench.links.sent[0][1]) <= PLAIN_MAX


class TestOperator:
    async def test_what_was_given_by_hand(self, bench: Bench) -> None:
        await bench.events(suspended())
        await bench.reply(reply(decision=ROUTE, by_operator=True))
        (frame,) = bench.links.frames
        assert (frame["outcome"], frame["decision"]) == ("operator", ROUTE)

    @pytest.mark.parametrize(
        ("fields", "outcome", "level"),
        [
            ({}, "decided", "debug"),
            ({"by_operator": True}, "operator", "debug"),
            ({"status": "failed"}, "failed", "warning"),
        ],
    )
    async def test_every_resume_is_logged_and_a_fallback_is_a_warning(
        self, bench: Bench, fields: dict[str, Any], outcome: str, level: str
    ) -> None:
        await bench.events(suspended())
        bench.now += 0.25
        with capture_logs() as logs:
            await bench.reply(reply(**fields))
        (entry,) = (entry for entry in logs if entry["event"] == "resumed")
        assert (entry["correlation_id"], entry["outcome"], entry["log_level"], entry["seconds"]) == (
            *(str(id_of()), outcome, level, 0.25),
        )

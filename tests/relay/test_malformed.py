"""What the relay cannot understand, from either side: answered where somebody waits, and kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapter import contract
from adapter.bodies import Habit
from adapter.model.transaction import RESEND_FOR, State
from adapter.ports.broker import Reply
from adapter.relay.malformed import COMPLAIN_EACH
from adapter.relay.policy import parse
from adapter.wire.event import Malformed
from tests.relay_bench import FALLBACK, Bench, id_of, reply, suspended

ROUTE = {"action": "route", "uri": "sip:gw7.example.net"}


@pytest.fixture
async def bench() -> Bench:
    return Bench()


class TestMalformedFrame:
    async def test_with_ids_it_is_answered_and_kept(self, bench: Bench) -> None:
        await bench.events(Malformed("base64", "Incorrect padding", b"e:37:1:?", "e", (37, 1, 3)))
        (frame,) = bench.links.frames
        assert frame["tm_trans"] == {"tm_index": 37, "tm_label": 1, "seq": 3}
        assert (frame["event"], frame["outcome"], frame["decision"]) == ("e", "malformed", FALLBACK)
        assert bench.links.sent[0][2] == 2.0 + RESEND_FOR
        (letter,) = bench.broker.letters
        assert (letter.reason, letter.detail, letter.body, letter.node) == (
            *("base64", "Incorrect padding"),
            *(b"e:37:1:?", "sbc1"),
        )
        assert bench.broker.published == []
        assert await bench.state(id_of(1, 3)) is State.SETTLED
        assert bench.counted("events_total", node="sbc1", kind="malformed") == 1

    async def test_however_many_there_are_the_log_names_one_each_moment(self, bench: Bench) -> None:
        broken = [Malformed("colon-form", f"number {n}", b"\x00") for n in range(1000)]
        with capture_logs() as logs:
            await bench.events(*broken)
            bench.now += COMPLAIN_EACH - 0.001
            await bench.events(broken[1])
            bench.now += 0.002
            await bench.events(broken[2], broken[3])
        told = [entry["detail"] for entry in logs if entry["event"] == "malformed frame"]
        assert told == ["number 0", "number 2"]
        assert bench.counted("events_total", node="sbc1", kind="malformed") == 1003
        assert len(bench.broker.letters) == 1003

    async def test_without_ids_it_is_kept_and_the_rest_goes_on(self, bench: Bench) -> None:
        await bench.events(suspended(1), Malformed("colon-form", "", b"\x00"), suspended(2))
        assert bench.links.sent == []
        assert [letter.body for letter in bench.broker.letters] == [b"\x00"]
        assert len(bench.broker.published) == 2

    async def test_a_copy_of_it_is_not_answered_again(self, bench: Bench) -> None:
        broken = Malformed("base64", "", b"e:37:1:?", "e", (37, 1, 1))
        await bench.events(broken, broken)
        await bench.events(broken)
        assert len(bench.links.sent) == 1

    @pytest.mark.parametrize(
        "data", [{"n": 1 << 64}, {"s": "\ud800"}, {"n": -(1 << 63) - 1}], ids=["long", "surrogate", "low"]
    )
    async def test_data_that_cannot_be_published(self, bench: Bench, data: object) -> None:
        await bench.events(suspended(1, data=data), suspended(2))
        assert bench.outcomes == [(1, "malformed")]
        (letter,) = bench.broker.letters
        assert letter.reason == "unencodable"
        assert b"invite_request" in letter.body
        assert len(bench.broker.published) == 1


BROKEN_REPLIES = {
    "text": ({"body": b"route", "content_type": "text/plain"}, "format"),
    "no msgpack": ({"body": b"\xc1"}, "format"),
    "cut off": ({"body": contract.encode_reply(ROUTE)[:-1]}, "not-msgpack"),
    "bytes after it": ({"body": contract.encode_reply(ROUTE) + b"\x00"}, "not-msgpack"),
    "no map": ({"body": b"\x93\x01\x02\x03"}, "not-a-map"),
    "a key that is no string": ({"body": b"\x81\x01\x02"}, "not-msgpack"),
    "bytes in it": ({"body": b"\x81\xa1a\xc4\x01x"}, "not-json"),
    "no UTF-8": ({"body": b"\x81\xa1a\xa1\xff"}, "not-msgpack"),
    "no number": ({"body": b"\x81\xa1a\xcb\x7f\xf8\0\0\0\0\0\0"}, "not-json"),
    "over 64 bits signed": ({"body": b"\x81\xa1a\xcf" + b"\xff" * 8}, "integer"),
    "a NUL": ({"body": b"\x81\xa1a\xa1\x00"}, "nul"),
    "no JSON": ({"body": b"{", "content_type": "application/json"}, "not-json"),
    "a JSON list": ({"body": b"[]", "content_type": "application/json"}, "not-a-map"),
    "a deep one": (
        {"body": b'{"a":' * 300 + b"1" + b"}" * 300, "content_type": "application/json"},
        "depth",
    ),
    "one too deep to read": (
        {"body": b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "content_type": "application/json"},
        "not-json or depth",  # Python 3.14 reads deeper
    ),
}
NO_CORRELATION_IDS = (
    *("", "x", "1:2:3", ":1:2:3", "sbc1:37:1:1 ", "sbc1:37:+1:1", "sbc1:37:-1:1", "sbc1:37:01:1"),
    *("sbc1:a:b:c", "sbc1:37:1:1:", "sbc1:37:1_0:1", "sbc1:37:\N{ARABIC-INDIC DIGIT ONE}:1", "\x1b[2J"),
)


class TestMalformedReply:
    @pytest.mark.parametrize(("fields", "reason"), BROKEN_REPLIES.values(), ids=BROKEN_REPLIES)
    async def test_it_is_answered_and_kept(self, bench: Bench, fields: dict[str, Any], reason: str) -> None:
        await bench.events(suspended(1), suspended(2))
        broken = reply(1, **fields)
        await bench.reply(broken, reply(2))
        assert bench.outcomes == [(1, "malformed"), (2, "decided")]
        assert bench.links.frames[0]["decision"] == FALLBACK
        (letter,) = bench.broker.letters
        assert letter.reason in reason.split(" or ")
        assert (letter.body, letter.node, letter.correlation_id) == (broken.body, "sbc1", str(id_of(1)))
        assert letter.content_type == broken.content_type

    async def test_it_is_told_what_came(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        await bench.reply(reply(1, body=b"[1]", content_type="text/plain"))
        (letter,) = bench.broker.letters
        assert letter.detail == (
            "a JSON array: it begins with 5b 31 5d ('[1]'); send a JSON object or a msgpack map "
            "(content type: text/plain)"
        )

    async def test_an_answer_for_a_node_that_is_not_here_is_kept_and_settles_nothing(self) -> None:
        here = Bench()
        there = Bench(store=here.store.inner.beside("r2"), nodes=["sbc2"])
        await here.events(suspended(1))
        await there.reply(reply(1))
        assert [letter.reason for letter in there.broker.letters] == ["another-node"]
        await here.reply(reply(1))
        assert here.outcomes == [(1, "decided")]

    @pytest.mark.parametrize("correlation_id", NO_CORRELATION_IDS)
    async def test_an_answer_to_nobody_knows_what_is_kept(self, bench: Bench, correlation_id: str) -> None:
        await bench.events(suspended(1))
        await bench.reply(Reply(correlation_id, b"\x80", contract.MSGPACK), reply(1))
        assert bench.outcomes == [(1, "decided")]
        (letter,) = bench.broker.letters
        assert (letter.reason, letter.node) == ("correlation-id", "")
        assert letter.correlation_id == correlation_id


class TestHabits:
    @pytest.mark.parametrize(
        "content_type", [None, "", "text/plain", "application/x-msgpack", "application/json"]
    )
    @pytest.mark.parametrize("body", [contract.encode_reply(ROUTE), json.dumps(ROUTE).encode()])
    async def test_the_content_type_decides_nothing(
        self, bench: Bench, body: bytes, content_type: str | None
    ) -> None:
        await bench.events(suspended(1))
        await bench.reply(reply(1, body=body, content_type=content_type))
        assert bench.links.frames[0]["decision"] == ROUTE
        assert bench.broker.letters == []

    async def test_an_empty_reply_is_no_answer(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        await bench.reply(reply(1, body=b""))
        assert bench.outcomes == []
        assert bench.counted("replies_empty_total") == 1
        await bench.reply(reply(1))
        assert bench.outcomes == [(1, "decided")]

    async def test_an_empty_reply_that_says_failed_is_one(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        await bench.reply(reply(1, body=b"", status="failed"))
        assert bench.outcomes == [(1, "failed")]

    async def test_each_service_is_told_once(self, bench: Bench) -> None:
        await bench.events(*(suspended(n) for n in range(1, 7)))
        odd: dict[str, Any] = {"body": b"{}"}
        with capture_logs() as logs:
            await bench.reply(*(reply(n, service="lcr", **odd) for n in (1, 2, 3)))
            await bench.reply(reply(4, service="other", **odd), reply(5, body=b"", service="lcr"))
            await bench.reply(reply(6, service="lcr"))
        told = [(entry["service"], entry["problem"]) for entry in logs if entry["log_level"] == "warning"]
        assert told == [
            ("lcr", Habit.NO_ACTION.value),
            ("other", Habit.NO_ACTION.value),
            ("lcr", Habit.EMPTY.value),
        ]

    async def test_a_time_becomes_text(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        await bench.reply(reply(1, body=b"\x81\xa1a\xd6\xff\0\0\0\0"))
        assert bench.links.frames[0]["decision"] == {"a": "1970-01-01T00:00:00+00:00"}


class TestJsonRequests:
    async def test_the_policy_says_which_format_an_event_has(self) -> None:
        policy = parse({"default": {"format": "json"}, "events": {"packed": {"format": "msgpack"}}})
        bench = Bench(policy=policy)
        await bench.events(suspended(1, data={"n": 1}), suspended(2, "packed"), suspended(3, data=b"\xff\0"))
        bodies = [publication.body for publication in bench.broker.published]
        assert [contract.content_type(body) for body in bodies] == [
            contract.JSON,
            contract.MSGPACK,
            contract.JSON,
        ]
        assert json.loads(bodies[0])["data"] == {"n": 1}
        assert json.loads(bodies[2])["data"] == {"base64": "/wA="}
        assert [contract.decode_request(body).data for body in bodies][2] == b"\xff\0"

    async def test_an_integer_of_any_size_is_written(self) -> None:
        bench = Bench(policy=parse({"default": {"format": "json"}}))
        await bench.events(suspended(1, data={"n": 1 << 64}))
        assert json.loads(bench.broker.published[0].body)["data"] == {"n": 1 << 64}

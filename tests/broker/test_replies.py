"""What a message on a results queue tells, without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter import batches, contract
from adapter.broker.headers import count
from adapter.broker.rabbitmq.delivery import Delivery, Properties
from adapter.broker.rabbitmq.replies import read_replies, read_reply
from adapter.ports.broker import DeadLetter, Reply


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *((1, 1), (1500, 1500), (1.9, 1), ("30", 30), (" 30 ", 30), ("0.5", 0), (b"30", 30)),
        *((bytearray(b"30"), 30), (Decimal("2.5"), 2), (1 << 62, (1 << 31) - 1), ("1e300", (1 << 31) - 1)),
        *((0, 0), (-1, 0), ("", 0), ("soon", 0), (b"\xff", 0), (None, 0), ([], 0), ({}, 0), (True, 0)),
        *((float("nan"), 0), (float("inf"), 0), ("1e400", 0), ("9" * 33, 0), (10**400, 0)),
        (datetime(2030, 1, 1, tzinfo=UTC), 0),
    ],
)
def test_a_whole_number_in_a_header(value: Any, read: int) -> None:
    assert count(value) == read


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text() | st.binary(), st.lists))
def test_whatever_is_in_a_header_it_is_read(value: Any) -> None:
    assert 0 <= count(value) < 1 << 31


def delivered(headers: dict[str, Any], exchange: str = "", body: bytes = b"{}") -> Delivery:
    return Delivery(1, False, exchange, Properties(contract.JSON, headers, "sbc1:1:2:3"), body)


def test_more_time_and_how_long_a_decision_holds() -> None:
    headers = {contract.HEADER_STATUS: contract.STATUS_EXTEND, contract.HEADER_EXTEND: 1500}
    assert read_reply(delivered(headers), "sbc1") == Reply(
        "sbc1:1:2:3", b"{}", contract.JSON, contract.STATUS_EXTEND, extend=1500
    )
    assert read_reply(delivered({contract.HEADER_CACHE: "30"}), "sbc1") == Reply(
        "sbc1:1:2:3", b"{}", contract.JSON, cache=30
    )


def of_several(body: bytes, size: int = 0, **more: str | int) -> list[Reply | DeadLetter | None]:
    """What is read of a message of replies, with these headers beside its number."""
    headers = {contract.HEADER_BATCH: 2, **{name.replace("_", "-"): each for name, each in more.items()}}
    return read_replies(delivered(headers, body=body)._replace(size=size), "sbc1")


def test_what_a_reply_does_not_say_for_itself_its_message_says_for_all() -> None:
    parts = [batches.reply("sbc1:1:2:1", b"{}"), batches.reply("sbc1:1:2:2", b"{}", {"x-cache": 30})]
    assert of_several(
        batches.joined(parts), x_service="fraud", x_status="failed", x_detail="no database"
    ) == [
        Reply("sbc1:1:2:1", b"{}", contract.JSON, "failed", "fraud", detail="no database"),
        Reply("sbc1:1:2:2", b"{}", contract.JSON, "failed", "fraud", detail="no database", cache=30),
    ]
    assert of_several(batches.joined(parts), x_cache=5) == [
        Reply("sbc1:1:2:1", b"{}", contract.JSON, cache=5),
        Reply("sbc1:1:2:2", b"{}", contract.JSON, cache=30),
    ]


def test_whoever_answers_each_alone_may_copy_the_headers_of_their_message() -> None:
    assert of_several(b'{"action": "allow"}') == [
        Reply("sbc1:1:2:3", b'{"action": "allow"}', contract.JSON),
    ]


def test_a_message_of_replies_that_is_too_long_is_kept_for_that() -> None:
    (found,) = of_several(batches.joined([batches.reply("sbc1:1:2:1", b"{}")] * 9)[:99], size=200_000)
    assert isinstance(found, DeadLetter)
    assert found.reason == "oversized"
    assert found.detail == "replies of 200000 bytes in one message, at most 128000"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9)
    | st.builds(msgpack.Timestamp, st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 999_999_999))
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=9)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["correlation_id", "body", "headers", "event", "node", "x-status", "x-received"])
            | st.binary(max_size=3),
            inner,
            max_size=6,
        )
    ),
)


@given(
    st.lists(
        VALUES
        | st.fixed_dictionaries(
            {"correlation_id": st.just("sbc1:1:2:3")},
            optional={
                "body": VALUES,
                "headers": st.dictionaries(
                    st.sampled_from(
                        [
                            "x-status",
                            "x-detail",
                            "x-service",
                            "x-extend",
                            "x-cache",
                            "x-received",
                            "x-replied",
                        ]
                    ),
                    VALUES,
                ),
                "data": VALUES,
                "event": VALUES,
            },
        ),
        max_size=4,
    ),
    st.sampled_from(["", contract.DEAD_EXCHANGE]),
)
def test_whatever_somebody_puts_in_a_batch_it_is_read(several: list[Any], exchange: str) -> None:
    """What raised here would stop the node's replies: the message would come again and again."""
    deaths = {"x-death": [{"reason": "rejected", "queue": "evapi.decide.x"}], contract.HEADER_NODE: "sbc1"}
    headers = {contract.HEADER_BATCH: len(several), **deaths}
    read_replies(delivered(headers, exchange, msgpack.packb(several)), "sbc1")


UNTAKEN = {contract.HEADER_UNTAKEN: 1}


@pytest.mark.parametrize(
    ("queue", "service"),
    [
        ("evapi.decide.fraud", "fraud"),
        ("evapi.decide.team.fraud", "team.fraud"),
        ("evapi.handles.fraud.invite.request", "fraud"),
        ("evapi.decide.", None),
        ("retry", None),
        (None, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize(
    ("death", "headers", "told"),
    [("rejected", {}, True), ("expired", UNTAKEN, True), ("expired", {}, False), ("maxlen", UNTAKEN, True)],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_request_that_was_given_up(
    queue: Any, service: str | None, death: str, headers: dict[str, Any], told: bool, first: bool
) -> None:
    """Where RabbitMQ's table of deaths is missing, what it says of the first death has to do."""
    if first:
        deaths = {"x-first-death-reason": death, "x-first-death-queue": queue}
    else:
        deaths = {"x-death": [{"reason": death, "queue": queue}, {"reason": "expired", "queue": "evapi.x"}]}
    found = read_reply(delivered({contract.HEADER_NODE: "sbc1", **headers, **deaths}, "evapi.dead"), "sbc1")
    reply = Reply("sbc1:1:2:3", b"{}", contract.JSON, service=service, rejected=death)
    assert found == (reply if told else None)


def test_one_of_another_node_is_none_of_ours() -> None:
    headers = {contract.HEADER_NODE: "sbc2", **UNTAKEN, "x-death": [{"reason": "expired", "queue": "q"}]}
    assert read_reply(delivered(headers, "evapi.dead"), "sbc1") is None

"""Messages whose headers hold whatever a consumer, or RabbitMQ, put there."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from adapter import contract
from adapter.broker.rabbitmq.delivery import Delivery, Properties
from tests.fuzz.properties import NODE, check_delivery, deliver

ID = "sbc1:37:18:1"
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.binary(max_size=8).map(bytearray)
    | st.just(Decimal("1.5"))
    | st.just(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
deaths = st.fixed_dictionaries({}, optional={"reason": values, "queue": values, "count": values})
headers = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "x-death": values | st.lists(deaths | values, max_size=3),
        "x-first-death-reason": values,
        contract.HEADER_NODE: values | st.just(NODE),
        contract.HEADER_STATUS: values,
        contract.HEADER_SERVICE: values,
        "more": values,
    },
)
names = st.none() | st.text(max_size=60)


@given(
    st.sampled_from(["", contract.DEAD_EXCHANGE, contract.DEAD_BY_NODE_EXCHANGE]),
    headers,
    names | st.just(ID),
    names | st.sampled_from([contract.MSGPACK, contract.JSON]),
    st.binary(max_size=40),
)
def test_any_headers(
    exchange: str, headers: dict[str, Any] | None, id_: str | None, kind: str | None, body: bytes
) -> None:
    properties = Basic.Properties(headers=headers, correlation_id=id_, content_type=kind)
    check_delivery(Delivery(1, False, exchange, Properties.of(properties), body))


@given(st.lists(deaths | values, max_size=3), values)
def test_any_history_of_a_dead_request(history: list[Any], first: Any) -> None:
    told: Any = {"x-death": history, "x-first-death-reason": first, contract.HEADER_NODE: NODE}
    found = deliver(contract.DEAD_EXCHANGE, Basic.Properties(headers=told, correlation_id=ID), b"")
    assert found is None or found.rejected is not None


@pytest.mark.parametrize(
    "reason", ["rejected", "delivery_limit", "maxlen", "expired", b"rejected", None, 5, ["x"], {}]
)
def test_who_gave_a_request_up_is_told(reason: Any) -> None:
    told: Any = {"x-death": [{"reason": reason}], contract.HEADER_NODE: NODE}
    found = deliver(contract.DEAD_EXCHANGE, Basic.Properties(headers=told, correlation_id=ID), b"")
    if reason in (None, "expired"):
        assert found is None
    else:
        assert found is not None
        assert found.rejected == (reason.decode() if isinstance(reason, bytes) else str(reason))

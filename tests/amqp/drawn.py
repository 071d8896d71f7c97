"""Properties of messages, as senders of all kinds might set them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from pamqp.commands import Basic

names = st.text(max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.text(max_size=8)
    | st.binary(max_size=8).map(bytearray)
    | st.just(Decimal("1.5"))
    | st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
TIMED: list[dict[str, Any]] = [
    {"x-service": "lcr", "x-received": 1 << 50, "x-replied": (1 << 50) + 1},
    {"x-received": 1 << 50, "x-replied": 1 << 51},
    {"x-replied": 1 << 50, "x-received": 1 << 51, "x-service": "lcr"},
    {"x-received": 1 << 50, "x-service": "lcr"},
    {"x-received": "soon", "x-replied": 1 << 50},
]
usual: dict[str, st.SearchStrategy[Any]] = {
    "content_type": st.sampled_from(["application/msgpack", "application/json"]),
    "headers": st.sampled_from([{"x-service": "lcr"}, {"x-service": "é", "x-status": "failed"}, *TIMED]),
    "delivery_mode": st.integers(1, 2),
    "correlation_id": names,
    "message_id": names,
    "timestamp": st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    "app_id": names,
}
unusual = {
    "content_encoding": names,
    "headers": st.dictionaries(names, values, max_size=4) | st.just({"long": "x" * 600}),
    "priority": st.integers(0, 255),
    "reply_to": names,
    "expiration": names,
    "message_type": names,
    "user_id": names,
}
properties = st.builds(
    lambda given: Basic.Properties(**given),
    st.fixed_dictionaries({}, optional=usual) | st.fixed_dictionaries({}, optional=usual | unusual),
)

"""What follows of settings and policy for the parts of a bridge."""

from __future__ import annotations

import pytest

from adapter.parts import longest_taken_live
from adapter.relay.policy import parse
from adapter.settings import load


@pytest.mark.parametrize(
    ("rules", "most"),
    [
        ({}, 4.0),
        ({"deadline": 4}, 4.0),
        ({"deadline": 4.1}, 9.0),
        ({"max_deadline": 4}, 4.0),
        ({"max_deadline": 4.1}, 9.0),
        ({"max_deadline": 30}, 39.0),
    ],
)
def test_replies_are_kept_as_long_as_a_call_may_wait(rules: dict[str, float], most: float) -> None:
    settings = load(amqp_url="amqp://x/", nodes="sbc1=127.0.0.1:8448")
    assert longest_taken_live(settings, parse({"events": {"a": rules}})) == most

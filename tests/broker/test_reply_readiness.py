"""Which nodes' replies are consumed, and since when not."""

from __future__ import annotations

from adapter.broker.rabbitmq.reply_readiness import PREPARED, ReplyReadiness

NODE = "sbc1"
GRACE = 1.0


def made() -> ReplyReadiness:
    found = ReplyReadiness(GRACE)
    found.begin(NODE, 10.0)
    return found


def consumed() -> ReplyReadiness:
    found = made()
    found.up(NODE)
    return found


def test_a_node_that_is_prepared_is_waited_for() -> None:
    found = made()
    assert found.takes(NODE, 10.9)
    assert not found.takes(NODE, 11.0)
    assert found.unheard == {NODE: PREPARED}
    assert not found.complete
    found.up(NODE)
    assert found.takes(NODE, 99.0)
    assert found.complete
    assert found.unheard == {}


def test_one_that_was_refused_is_not_until_it_is_consumed() -> None:
    found = made()
    found.broke(NODE, "no right", 10.1)
    assert not found.takes(NODE, 10.1)
    assert found.unheard == {NODE: "no right"}
    found.up(NODE)
    assert found.takes(NODE, 10.2)


def test_one_that_broke_has_the_grace_once() -> None:
    found = consumed()
    found.broke(NODE, "deleted", 20.0)
    assert found.takes(NODE, 20.9)
    assert found.unheard == {NODE: "deleted"}
    found.broke(NODE, "deleted again", 20.1)
    assert not found.takes(NODE, 20.1)


def test_a_new_connection_begins_anew() -> None:
    found = consumed()
    found.begin(NODE, 30.0)
    found.broke(NODE, "x", 30.0)
    found.begin(NODE, 31.0)
    assert found.takes(NODE, 31.5)


def test_a_node_that_is_not_attached_is_not_known() -> None:
    found = consumed()
    found.forget(NODE)
    found.broke(NODE, "its task ends", 20.0)
    found.up(NODE)
    assert found.takes(NODE, 20.0)
    assert found.complete

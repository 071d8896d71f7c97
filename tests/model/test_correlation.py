"""Correlation ids: who can make one, and who takes it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.model.correlation import Ids, WrongTag, derived_keys, keys_of, parts
from adapter.model.transaction import TransactionId

KEYS = keys_of(["one key of ours, and long", "another key of ours, too"])
ID = TransactionId("sbc1", 37, 1840980198, 1)
TAGGED = re.compile(r"sbc1:37:1840980198:1:[A-Za-z0-9_-]{12}")

numbers = st.integers(0, (1 << 32) - 1)
ids = st.builds(
    TransactionId, st.text("abc:.-[]0123456789", min_size=1), numbers, numbers, st.integers(1, 99)
)


def test_the_form() -> None:
    assert TAGGED.fullmatch(Ids(KEYS).text(ID))
    assert Ids().text(ID) == "sbc1:37:1840980198:1"
    assert Ids(KEYS).text(ID) == f"sbc1:37:1840980198:1{Ids(KEYS).suffix(ID).decode()}"
    assert Ids().suffix(ID) == b""


@given(ids)
def test_every_replica_reads_what_another_writes(id_: TransactionId) -> None:
    assert Ids(KEYS).read(Ids(KEYS).text(id_)) == id_
    assert Ids().read(Ids().text(id_)) == id_
    assert parts(Ids(KEYS).text(id_))[0] == id_
    assert parts(str(id_)) == (id_, "")


@given(ids, ids)
def test_a_tag_is_that_of_one_suspension(one: TransactionId, other: TransactionId) -> None:
    ours = Ids(KEYS)
    tag = ours.text(one).rpartition(":")[2]
    if one != other:
        with pytest.raises(WrongTag):
            Ids(KEYS).read(f"{other}:{tag}")


def test_the_first_key_signs_and_all_are_good() -> None:
    """So a key is changed without a gap: new beside old, then new before old, then new alone."""
    old, both, turned, new = Ids(KEYS[:1]), Ids(KEYS), Ids(KEYS[::-1]), Ids(KEYS[1:])
    assert both.text(ID) == old.text(ID) != turned.text(ID) == new.text(ID)
    for one, other in ((old, both), (both, turned), (turned, new)):
        assert one.read(other.text(ID)) == other.read(one.text(ID)) == ID
    with pytest.raises(WrongTag):
        new.read(old.text(ID))


@pytest.mark.parametrize(
    "text",
    ["sbc1:37:1840980198:1", "sbc1:37:1840980198:1:AAAAAAAAAAAA", "sbc1:37:1840980198:2:{tag}", "x:0:0:1"],
)
def test_a_missing_or_wrong_tag(text: str) -> None:
    ours = Ids(KEYS)
    tag = ours.text(ID).rpartition(":")[2]
    with pytest.raises(WrongTag):
        ours.read(text.format(tag=tag))
    if "{" not in text and "AAAA" not in text:
        assert str(ours.read(text, untagged=True)) == text, "the former build's"
    else:
        with pytest.raises(WrongTag):
            ours.read(text.format(tag=tag), untagged=True)


@pytest.mark.parametrize(
    "text", ["", ":", "nonsense", "a:b:c:d", "sbc1:1:2", ":1:2:3", "sbc1:1:2:-3", "s:1:2:3:x"]
)
def test_what_is_no_id(text: str) -> None:
    for each in (Ids(KEYS), Ids()):
        with pytest.raises(ValueError, match=r".") as caught:
            each.read(text)
        assert not isinstance(caught.value, WrongTag)


def test_what_is_remembered_is_bounded_and_changes_nothing() -> None:
    ours, fresh = Ids(KEYS, remembered=8), Ids(KEYS)
    many = [TransactionId("sbc1", number, 7, 1) for number in range(100)]
    for id_ in many:
        assert ours.read(ours.text(id_)) == id_
        assert len(ours._texts) + len(ours._older_texts) <= 16
        assert len(ours._ids) + len(ours._older_ids) <= 16
    assert [ours.text(id_) for id_ in many] == [fresh.text(id_) for id_ in many]


class TestDerived:
    def test_by_user_and_password_alone(self) -> None:
        one = derived_keys("amqp://eve:pw@a/vhost?heartbeat=3")
        assert one == derived_keys("amqps://eve:pw@b:5671") == derived_keys("amqp://%65ve:p%77@c")
        assert one != derived_keys("amqp://eve:pw2@a") != derived_keys("amqp://eva:pw@a")
        assert derived_keys("amqp://a") == derived_keys("amqp://guest:guest@b/")

    def test_servers_with_one_login_make_one_key(self) -> None:
        assert derived_keys("amqp://e:pw@a, amqp://e:pw@b") == derived_keys("amqp://e:pw@b")

    def test_lists_in_another_order_take_each_other(self) -> None:
        one, other = derived_keys("amqp://e:1@a,amqp://f:2@b"), derived_keys("amqp://f:2@b,amqp://e:1@a")
        assert one == other[::-1] != other
        assert Ids(one).read(Ids(other).text(ID)) == Ids(other).read(Ids(one).text(ID)) == ID

    def test_a_comma_in_a_password(self) -> None:
        assert len(derived_keys("amqp://e:a,b@h,amqp://f:c@h")) == 2

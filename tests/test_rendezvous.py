from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.rendezvous import active

names = st.text(min_size=1, max_size=20)


@given(names, st.sets(names, min_size=1), st.randoms())
def test_all_agree_whatever_the_order_in_which_they_know_each_other(node, replicas, random):
    shuffled = list(replicas)
    random.shuffle(shuffled)
    assert active(node, shuffled) == active(node, sorted(replicas)) in replicas


@given(names, st.sets(names, min_size=2))
def test_only_what_the_lost_replica_had_changes_hands(node, replicas):
    was = active(node, replicas)
    for lost in replicas - {was}:
        assert active(node, replicas - {lost}) == was


def test_nodes_are_spread():
    shares = Counter(active(f"sbc{number}", ["one", "two", "three", "four"]) for number in range(2000))
    assert len(shares) == 4
    assert min(shares.values()) > 400


def test_nobody_is_active_where_nobody_is():
    with pytest.raises(ValueError):
        active("sbc1", [])

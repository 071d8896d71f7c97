"""The fuzzers' questions, asked in every test run: of their seeds, of those changed, and of anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import seeds, targets

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = {
    "events": (targets.events, seeds.streams()),
    "contract": (targets.contract, seeds.bodies()),
    "replies": (targets.replies, seeds.deliveries()),
}
changes = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3), st.binary(max_size=3)), max_size=4)


@pytest.mark.parametrize(("ask", "good"), ALL.values(), ids=ALL)
def test_the_seeds(ask: Callable[[bytes], None], good: list[bytes]) -> None:
    assert good
    for seed in good:
        ask(seed)


@pytest.mark.parametrize(("ask", "good"), ALL.values(), ids=ALL)
@given(data=st.data(), changes=changes)
def test_seeds_changed(
    ask: Callable[[bytes], None],
    good: list[bytes],
    data: st.DataObject,
    changes: list[tuple[int, int, bytes]],
) -> None:
    found = data.draw(st.sampled_from(good))
    for at, taken, put in changes:
        at %= len(found) + 1
        found = found[:at] + put + found[at + taken :]
    ask(found)


@pytest.mark.parametrize(("ask", "good"), ALL.values(), ids=ALL)
@given(raw=st.binary(max_size=80))
def test_anything(ask: Callable[[bytes], None], good: list[bytes], raw: bytes) -> None:
    ask(raw)
    ask(good[0][:1] + raw)

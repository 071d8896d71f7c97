"""Until when another replica may have answered without a trace, and when it has given back what it did."""

from __future__ import annotations

from dataclasses import replace

from adapter.cluster.membership import Membership
from adapter.cluster.traces import Traces
from adapter.model.beat import Beat, Snapshot, heard, told

LEASE = 1.0
ME, OTHER = "r1", "r2"


def seen(*whole: int) -> Traces:
    """Marks of one that may have answered until 10.0, which the store was asked about at 11.0, and which has
    said since of which beats it had an answer. The store had its beat 7 then."""
    traces = Traces()
    traces.mark(OTHER, 10.0)
    traces.stored({OTHER: Beat(number=7)}, 11.0)
    for each in whole:
        traces.said(OTHER, Beat(number=20, whole=each))
    return traces


def test_a_mark_goes_once_a_beat_was_answered_that_the_store_had_not_before() -> None:
    assert seen().until == seen(6, 7).until == 10.0
    assert seen(8).until == float("-inf")
    assert seen(7).late_until == float("-inf")
    assert seen(8).late_until == 10.0


def test_what_it_said_before_the_store_was_asked_proves_nothing() -> None:
    traces = Traces()
    traces.mark(OTHER, 10.0)
    traces.said(OTHER, Beat(number=20, whole=19))
    traces.stored({OTHER: Beat(number=7)}, 9.9)
    traces.said(OTHER, Beat(number=21, whole=20))
    assert traces.until == 10.0, "it was asked before the mark was made"
    traces.stored({}, 11.0)
    traces.said(OTHER, Beat(number=22, whole=21))
    assert traces.until == 10.0, "it does not know that replica any more"


def test_a_later_mark_counts_anew_and_an_earlier_one_does_not() -> None:
    traces = seen(8)
    traces.mark(OTHER, 10.0)
    assert traces.until == float("-inf"), "that was given back"
    traces.mark(OTHER, 12.0)
    traces.said(OTHER, Beat(number=30, whole=29))
    assert traces.until == 12.0


def test_only_who_lives_gives_anything_back() -> None:
    traces = seen()
    assert traces.may_clear(9.0, {OTHER})
    assert not traces.may_clear(9.0, set())
    assert traces.may_clear(10.1, set()), "nobody has answered that"


def test_a_beat_says_what_is_whole_and_one_of_the_build_before_does_not() -> None:
    beat = Beat(number=9, whole=8)
    assert getattr(heard(told(beat)), "whole", None) == 8
    assert getattr(heard(told(beat).replace('"whole":8,', "")), "whole", None) == 0


class TestMembership:
    def after_an_outage(self, memory: str) -> Membership:
        """Both had lost the store from 100.5 to 101."""
        made = Membership(ME, LEASE, bus=True)
        there = Beat(nodes=frozenset(["sbc1"]), claims=frozenset(["sbc1"]), number=1, contact=0.2)
        made.update(Snapshot({ME: Beat(), OTHER: there}, True, memory="a"), 100.0, 100.0)
        made.lost(100.4)
        made.refresh(100.5)
        later = replace(there, number=2, age=0.0)
        made.update(Snapshot({ME: Beat(), OTHER: later}, True, memory=memory), 100.9, 101.0)
        return made

    def test_a_store_that_hung_has_forgotten_nothing(self) -> None:
        assert self.after_an_outage("a").remembers_from == float("-inf")
        assert self.after_an_outage("b").remembers_from == self.after_an_outage("").remembers_from == 102.0
        assert self.after_an_outage("a").there_from == 102.0, "who may claim is another matter"

    def test_what_others_did_meanwhile_is_given_back(self) -> None:
        made = self.after_an_outage("a")
        assert made.untraced_until(101.0) == 101.0
        for number, at in ((3, 101.2), (4, 101.4), (5, 101.6)):
            there = Beat(nodes=frozenset(["sbc1"]), number=number, whole=number - 2, contact=0.2)
            beats = {ME: Beat(), OTHER: there}
            made.update(Snapshot(beats, True, memory="a"), at, at)
        assert made.untraced_until(101.6) == 101.0, "its beat 3 may have come to the store before that"
        beats = {ME: Beat(), OTHER: Beat(nodes=frozenset(["sbc1"]), number=6, whole=4)}
        made.update(Snapshot(beats, True, memory="a"), 101.8, 101.8)
        assert made.untraced_until(101.8) == float("-inf")
        assert made.traces.late_until == 101.0

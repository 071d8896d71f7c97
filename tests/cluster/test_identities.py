"""Which Kamailio a name stands for, and where names clash. No server."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.cluster.identities import (
    LASTS,
    TWO_KAMAILIOS,
    TWO_NAMES,
    TWO_REPLICAS,
    Watch,
    clashes,
    differ,
    elders,
    identity,
    incarnation_of,
)
from adapter.model.beat import Beat, heard, told


def beat(**identities: str) -> Beat:
    return Beat(nodes=frozenset(identities), identities=identities)


def kinds(**beats: Beat) -> list[tuple[str, tuple[str, ...]]]:
    return [(clash.kind, clash.names) for clash in clashes(beats)]


class TestIdentity:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
    def test_loopback_is_another_kamailio_on_each_machine(self, host: str) -> None:
        assert identity("", host, f"{host}:1", "m1") != identity("", host, f"{host}:1", "m2")

    @pytest.mark.parametrize("host", ["10.0.0.1", "2001:db8::1", "kamailio.example"])
    def test_any_other_address_is_the_same_from_everywhere(self, host: str) -> None:
        assert identity("", host, f"{host}:1", "m1") == identity("", host, f"{host}:1", "m2")

    def test_it_holds_the_life(self) -> None:
        assert incarnation_of(identity("17.5", "10.0.0.1", "10.0.0.1:1", "m")) == "17.5"
        assert incarnation_of(identity("", "10.0.0.1", "10.0.0.1:1", "m")) == ""

    def test_two_addresses_prove_nothing(self) -> None:
        assert differ("x@h:1", "y@h:1")
        assert not differ("x@h:1", "x@h:2")
        assert not differ("@h:1", "@h:2")
        assert not differ("x@h:1", "@h:2")


def test_a_beat_tells_it_and_one_of_the_build_before_does_not() -> None:
    said = told(beat(a="x@h:1", b="@h:2"))
    found = heard(said)
    assert found is not None
    assert found.identities == {"a": "x@h:1", "b": "@h:2"}
    former = heard(said.replace("identities", "unknown"))
    assert former is not None
    assert former.identities == {}
    assert clashes({"r1": former, "r2": beat(a="y@h:1")}) == []


class TestElders:
    @pytest.mark.parametrize(
        ("own", "others", "found"),
        [
            ({"b": "x@h:1"}, [], {}),
            ({"a": "x@h:1", "b": "x@h:2"}, [], {"b": ("a",)}),
            ({"b": "x@h:1"}, [{"a": "x@h:2"}], {"b": ("a",)}),
            ({"a": "x@h:1"}, [{"b": "x@h:2"}], {}),
            ({"a": "x@h:1"}, [{"a": "x@h:2"}], {}),
            ({"c": "@h:1"}, [{"a": "@h:1"}, {"b": "@h:1", "d": "@h:1"}], {"c": ("a", "b")}),
            ({"b": "@h:1"}, [{"a": "@h:2"}], {}),
            ({"b": "@h:1"}, [{"a": "x@h:1"}], {}),
        ],
    )
    def test_the_smaller_names_of_the_same_kamailio(
        self, own: dict[str, str], others: list[dict[str, str]], found: dict[str, Any]
    ) -> None:
        assert elders(own, [beat(**other) for other in others]) == found


class TestClashes:
    def test_none(self) -> None:
        assert kinds(r1=beat(a="x@h:1", b="y@h:2"), r2=beat(a="x@h:1", b="y@h:2")) == []
        assert kinds(r1=beat(a="@h:1"), r2=beat(a="@h:9")) == []

    def test_two_kamailios_under_one_name(self) -> None:
        beats = {"r1": beat(a="x@h:1"), "r2": beat(a="y@h:2"), "r3": beat(a="x@h:1")}
        (clash,) = clashes(beats)
        assert (clash.kind, clash.names) == (TWO_KAMAILIOS, ("a",))
        for side in ("h:1 (life x) by r1", "h:2 (life y) by r2"):
            assert side in clash.sides
        assert "EVAPI_NODES" in clash.do

    def test_one_kamailio_under_two_names(self) -> None:
        assert kinds(r1=beat(a="x@h:1", b="x@h:2")) == [(TWO_NAMES, ("a", "b"))]
        assert kinds(r1=beat(a="x@h:1"), r2=beat(b="x@h:2")) == [(TWO_NAMES, ("a", "b"))]
        assert kinds(r1=beat(a="@h:1"), r2=beat(b="@h:1")) == [(TWO_NAMES, ("a", "b"))]

    def test_two_replicas_under_one_name(self) -> None:
        found = clashes({"r~1": Beat(about={"http": "h:1"}), "r~2": Beat(), "s~1": Beat()})
        assert [(each.kind, each.names) for each in found] == [(TWO_REPLICAS, ("r",))]
        assert "r~1 (h:1), r~2" in found[0].text
        assert clashes({"r~1": Beat(), "r~2": Beat(accepting=False)}) == [], "it is about to be replaced"


class TestWatch:
    def test_a_restart_is_no_clash(self) -> None:
        watch = Watch()
        found = clashes({"r1": beat(a="x@h:1"), "r2": beat(a="y@h:1")})
        assert watch.update(found, 0.0) == ([], [])
        assert watch.update(found, LASTS - 0.1) == ([], [])
        assert watch.update([], LASTS) == ([], [])
        assert watch.update(found, LASTS + 0.1) == ([], []), "it counts from anew"

    def test_what_lasts_is_told_once_and_when_it_ends(self) -> None:
        watch = Watch()
        found = clashes({"r1": beat(a="x@h:1"), "r2": beat(a="y@h:1")})
        watch.update(found, 0.0)
        assert watch.update(found, LASTS) == (found, [])
        assert watch.update(found, LASTS + 9) == ([], [])
        assert watch.told == found
        assert watch.update([], LASTS + 9) == ([], found)
        assert watch.told == []

    def test_two_names_are_told_at_once(self) -> None:
        found = clashes({"r1": beat(a="x@h:1", b="x@h:1")})
        assert Watch().update(found, 0.0) == (found, [])

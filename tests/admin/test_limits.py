"""What is too much, and what follows from how the whole is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.admin.limits import (
    FEW,
    SECONDS,
    SHARE,
    SOME,
    Finding,
    Level,
    Limit,
    Limits,
    judge,
    worst,
)
from adapter.admin.overview import Bus, Load, Overview, Store
from adapter.admin.recent import Recent
from adapter.admin.services import Service
from adapter.model.transaction import Outcome
from adapter.observe.journal import Journal
from adapter.ports.broker import Reply
from tests.admin.site import LEASE, NOW, answers, beat, record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.model.beat import Beat

OK, WARNING, CRITICAL, UNKNOWN = Level


class TestLimit:
    @pytest.mark.parametrize(
        ("text", "unit", "warning", "critical"),
        [
            ("2000", "", None, 2000),
            ("500:2000", "", 500, 2000),
            (" 500 : 2000 ", "", 500, 2000),
            ("500:", "", 500, None),
            ("0:0", "", 0, 0),
            ("2s", SECONDS, None, 2),
            ("1.5s:2m", SECONDS, 1.5, 120),
            ("500ms:1s", SECONDS, 0.5, 1),
            ("1%", SHARE, None, 0.01),
            ("0.5%:5%", SHARE, 0.005, 0.05),
        ],
    )
    def test_what_is_understood(self, text: str, unit: str, warning: Any, critical: Any) -> None:
        assert Limit.parse(text, unit) == Limit(warning, critical, unit)

    @pytest.mark.parametrize(
        ("text", "unit"),
        [
            *((text, "") for text in ("", ":", "x", "1:x", "-1", "1s", "1%", "1:2:3", "1e9", "2:1", "nan")),
            *((text, SECONDS) for text in ("2", "2h", "1s:2", "2s:1s")),
            *((text, SHARE) for text in ("0.01", "1s", "2%:1%")),
        ],
    )
    def test_what_is_not(self, text: str, unit: str) -> None:
        with pytest.raises(ValueError, match=r"limit|WARNING:CRITICAL"):
            Limit.parse(text, unit)

    def test_of_a_least_one_the_warning_is_the_higher(self) -> None:
        assert Limit.parse("2:1", least=True) == Limit(2, 1, "", True)
        with pytest.raises(ValueError, match="not under"):
            Limit.parse("1:2", least=True)

    @given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
    def test_the_level_of_a_value(self, one: Any, other: Any, value: Any) -> None:
        low, high = sorted((one, other))
        most, least = Limit(low, high), Limit(high, low, "", True)
        assert most.level(value) == (CRITICAL if value > high else WARNING if value > low else OK)
        assert least.level(value) == (CRITICAL if value < low else WARNING if value < high else OK)

    def test_the_half_that_is_not_given_is_not_judged(self) -> None:
        assert Limit(1, None).level(99) is WARNING
        assert Limit(None, 5).level(3) is OK


def test_the_worst_is_what_is_known_to_be_wrong() -> None:
    order = (OK, UNKNOWN, WARNING, CRITICAL)
    for at, level in enumerate(order):
        assert worst(Finding("x", each, "") for each in order[: at + 1]) is level
    assert worst([]) is OK
    assert [level.word for level in Level] == ["ok", "warning", "critical", "unknown"]


LCR = Service("lcr", "evapi.decide.lcr", 0, 2, None)


def overview(**changes: Any) -> Overview:
    """All is well: two replicas, two nodes, a service with two consumers, and no dead letter."""
    beats: Mapping[str, Beat] = {"r1~a": beat("sbc1", "sbc2"), "r2~b": beat()}
    recent = Recent()
    recent.covered = 60.0
    store = {key: changes.pop(key) for key in ("beats", "orders", "loads") if key in changes}
    bus = {
        key: changes.pop(key) for key in ("services", "dead_letters", "blocked", "complete") if key in changes
    }
    return Overview(
        LEASE,
        changes.pop("store", Store(NOW, **{"beats": beats, **store})),
        bus=changes.pop("bus", replace(Bus("4.1", False, 0, (LCR,), True), **bus)),
        recent=recent,
        **changes,
    )


def found(given: Overview, limits: Limits | None = None) -> dict[tuple[str, str], Finding]:
    """What is not well."""
    return {(each.check, each.of): each for each in judge(given, limits or Limits()) if each.level}


def levels(given: Overview, limits: Limits | None = None) -> dict[tuple[str, str], Level]:
    return {key: each.level for key, each in found(given, limits).items()}


def test_where_all_is_well_every_check_is_told() -> None:
    told = judge(overview(), Limits())
    assert worst(told) is OK
    checks = {each.check for each in told}
    assert checks >= {"redis", "replicas", "node", "inflight", "fallback_rate", "rabbitmq"}
    assert checks >= {"consumers", "queue_depth", "dead_letters"}


def test_whatever_is_wrong_tells_what_to_run() -> None:
    recent = Recent()
    recent.add(NOW - 2, answers(FEW, outcome=Outcome.TIMEOUT))
    bad = overview(
        beats={"r1~a": beat(broker=False), "r2~b": beat(age=9.0), "r3~c": beat(accepting=False)},
        orders={"replica:r3~c": {}, "node:sbc2": {}},
        loads={"sbc1": Load(20_000, 90.0, 3)},
        services=(replace(LCR, consumers=0, messages=9999), Service("x", "evapi.decide.x", None, None, None)),
        dead_letters=5000,
        blocked=True,
    )
    limits = Limits(oldest=Limit(1, 2, SECONDS), p99=Limit(None, 0.001, SECONDS))
    told = found(replace(bad, recent=recent), limits)
    assert len(told) >= 14
    for each in told.values():
        assert each.run, each


class TestServers:
    def test_redis_away(self) -> None:
        away = overview(store=None, store_problem="Redis at h: gone")
        (finding,) = found(away).values()
        assert (finding.check, finding.level, finding.text) == ("redis", CRITICAL, "Redis at h: gone")

    def test_rabbitmq_away_or_blocked(self) -> None:
        (finding,) = found(overview(bus=None, bus_problem="gone")).values()
        assert (finding.check, finding.level) == ("rabbitmq", CRITICAL)
        assert levels(overview(blocked=True)) == {("rabbitmq", ""): CRITICAL}

    def test_what_was_asked_and_cannot_be_measured_is_unknown(self) -> None:
        alone = overview(bus=None)
        assert levels(alone) == {}
        asked = Limits(asked=frozenset({"dead_letters", "in_flight"}))
        assert levels(alone, asked) == {("dead_letters", ""): UNKNOWN}
        nothing = overview(dead_letters=None, services=(), complete=False)
        assert levels(nothing) == {}
        asked = Limits(asked=frozenset({"dead_letters", "consumers"}))
        assert levels(nothing, asked) == {("dead_letters", ""): UNKNOWN, ("consumers", ""): UNKNOWN}
        complete = overview(services=(), complete=True)
        assert levels(complete, asked) == {}, "there is none, and that is known"

    def test_nothing_was_asked(self) -> None:
        assert judge(Overview(LEASE), Limits()) == []


class TestReplicas:
    def test_none_lives(self) -> None:
        for beats in ({}, {"r1~a": beat("sbc1", age=9.0)}):
            told = found(overview(beats=beats))
            assert told["replicas", ""].level is CRITICAL
            assert told["replicas", ""].text == "no replica lives"
            assert ("node", "sbc1") not in told, "that would be told of every node"
        assert (
            levels(overview(beats={}), Limits(replicas=Limit(2, None, "", True)))["replicas", ""] is CRITICAL
        )

    def test_names_that_clash(self) -> None:
        beats = {
            "r1~a": replace(beat("sbc1", "sbc2"), identities={"sbc1": "x@h:1"}),
            "r2~b": replace(beat(), identities={"sbc2": "x@h:2"}),
        }
        told = found(overview(beats=beats))
        assert told["names", "sbc1"].level is WARNING
        assert "sbc1 is the Kamailio at h:1 (life x) by r1~a; sbc2 is" in told["names", "sbc1"].text

    def test_they_know_of_no_node(self) -> None:
        told = found(overview(beats={"r1~a": beat(links={}), "r2~b": beat(links={})}))
        assert told["node", ""].level is CRITICAL

    def test_one_of_two_is_gone(self) -> None:
        gone = overview(beats={"r1~a": beat("sbc1", "sbc2"), "r2~b": beat(age=30.0)})
        assert levels(gone) == {("replica", "r2"): WARNING}
        assert "silent since 30 s" in found(gone)["replica", "r2"].text
        two = Limits(replicas=Limit.parse("2:1", least=True))
        assert levels(gone, two)["replicas", ""] is WARNING
        assert "1 of at least 2" in found(gone, two)["replicas", ""].text
        two = Limits(replicas=Limit.parse("2", least=True))
        assert levels(gone, two)["replicas", ""] is CRITICAL

    def test_one_that_has_a_new_life_is_not_missed(self) -> None:
        assert levels(overview(beats={"r1~a": beat("sbc1", "sbc2"), "r1~z": beat(age=30.0)})) == {}

    def test_one_is_drained_or_drains(self) -> None:
        beats = {"r1~a": beat("sbc1", "sbc2"), "r2~b": beat(accepting=False)}
        orders = {"replica:r2~b": {"by": "op@h", "reason": "kernel"}}
        drained = found(overview(beats=beats, orders=orders))
        assert list(drained) == [("replica", "r2")]
        finding = drained["replica", "r2"]
        assert (finding.level, finding.text) == (WARNING, "drained by op@h: kernel")
        assert finding.run == "evapi-adapter resume r2"
        finding = found(overview(beats=beats))["replica", "r2"]
        assert (finding.level, finding.text) == (WARNING, "draining")

    def test_one_has_no_broker(self) -> None:
        cut_off = beat(broker=False)
        assert levels(overview(beats={"r1~a": beat("sbc1", "sbc2"), "r2~b": cut_off})) == {
            ("replica", "r2"): WARNING
        }
        alone = levels(overview(beats={"r1~a": cut_off}))
        assert alone["replica", "r1"] is CRITICAL
        assert alone["node", "sbc1"] is CRITICAL


class TestNodes:
    @pytest.mark.parametrize("how", ["down", "unread"])
    def test_a_link_that_is_of_no_use(self, how: str) -> None:
        bad = {"sbc1": how, "sbc2": "receipts"}
        one = found(overview(beats={"r1~a": beat("sbc1", "sbc2"), "r2~b": beat(links=bad)}))
        assert {key: each.level for key, each in one.items()} == {("node", "sbc1"): WARNING}
        assert f"{how} at r2; r1 serves it" in one["node", "sbc1"].text
        both = found(overview(beats={"r1~a": beat("sbc2", links=bad), "r2~b": beat(links=bad)}))
        assert {key: each.level for key, each in both.items()} == {("node", "sbc1"): CRITICAL}
        assert "no active replica" in both["node", "sbc1"].text
        assert f"{how} at r1, {how} at r2" in both["node", "sbc1"].text

    def test_one_that_must_be_there_and_that_no_replica_knows(self) -> None:
        assert levels(overview(nodes=("sbc1", "sbc9"))) == {("node", "sbc9"): CRITICAL}

    def test_nobody_is_active_though_the_link_is_well(self) -> None:
        told = found(overview(beats={"r1~a": beat(accepting=False)}))
        assert told["node", "sbc1"].level is CRITICAL
        assert "takes calls" in told["node", "sbc1"].text

    def test_paused(self) -> None:
        beats = {"r1~a": beat("sbc2")}
        told = found(overview(beats=beats, orders={"node:sbc1": {"by": "op@h", "reason": ""}}))
        assert list(told) == [("node", "sbc1")]
        assert told["node", "sbc1"].level is WARNING
        assert told["node", "sbc1"].text == "paused by op@h"
        assert told["node", "sbc1"].run == "evapi-adapter resume sbc1"
        told = found(overview(beats=beats, orders={"node:sbc1": {}}))
        assert told["node", "sbc1"].text == "paused by somebody"


class TestInFlight:
    def test_each_node_is_judged(self) -> None:
        loads = {"sbc1": Load(501, 1.5), "sbc2": Load(500, 0.2)}
        limits = Limits(in_flight=Limit(500, 2000), oldest=Limit(1, 2, SECONDS))
        assert levels(overview(loads=loads), limits) == {
            ("inflight", "sbc1"): WARNING,
            ("oldest", "sbc1"): WARNING,
        }

    def test_past_the_deadline_is_critical_unasked(self) -> None:
        told = found(overview(loads={"sbc1": Load(2, 9.0, 1)}))
        assert told["overdue", "sbc1"].level is CRITICAL
        assert told["overdue", "sbc1"].text == "1 call past the deadline and not answered"


class TestRecent:
    def given(self, timeouts: int, decided: int) -> Overview:
        recent = Recent()
        recent.covered = 60.0
        recent.add(NOW - 2, answers(timeouts, outcome=Outcome.TIMEOUT) if timeouts else b"\x90")
        recent.add(NOW - 2, answers(decided) if decided else b"\x90")
        return replace(overview(), recent=recent)

    def test_the_share_of_fallbacks(self) -> None:
        assert levels(self.given(1, 99)) == {}
        assert levels(self.given(10, 90)) == {("fallback_rate", ""): WARNING}
        told = found(self.given(50, 50))["fallback_rate", ""]
        assert told.level is CRITICAL
        assert told.text == "50.0% of 100 calls in 60 s got the fallback (50 timeout, 50 decided)"

    def test_its_outcomes_are_all_told_so_that_they_sum_up(self) -> None:
        given = self.given(0, 40)
        assert given.recent is not None
        for outcome in (Outcome.TIMEOUT, Outcome.FAILED, Outcome.UNROUTABLE, Outcome.OVERLOAD):
            given.recent.add(NOW - 2, answers(15, outcome=outcome))
        told = found(given)["fallback_rate", ""]
        assert told.text == (
            "60.0% of 100 calls in 60 s got the fallback "
            "(40 decided, 15 timeout, 15 failed, 15 unroutable, 15 overload); no queue gets invite"
        )

    def test_of_few_calls_it_is_only_told(self) -> None:
        told = judge(self.given(FEW - 2, 1), Limits(p99=Limit(None, 0.001, SECONDS)))
        assert worst(told) is OK
        (finding,) = [each for each in told if each.check == "fallback_rate"]
        assert (finding.value, finding.text.endswith("too few to judge")) == ((FEW - 2) / (FEW - 1), True)
        assert worst(judge(self.given(SOME - 1, 0), Limits())) is OK

    def test_some_that_nobody_decided_are_a_warning_and_why_is_told(self) -> None:
        given = self.given(SOME, 0)
        assert given.recent is not None
        journal, call = Journal(), record(1, claimed=NOW, deadline=NOW)
        why = Reply(str(call.id), b"", service="lcr", status="failed", detail="KeyError at lcr.py, line 5")
        journal.replied(NOW, [(call.id, why)])
        entry = journal.take()
        assert entry is not None
        given.recent.add(NOW - 2, entry)
        assert levels(given) == {("fallback_rate", ""): WARNING}
        told = found(given)["fallback_rate", ""]
        assert told.text.endswith("(3 timeout); lcr: failed: KeyError at lcr.py, line 5")
        assert told.run == "evapi-adapter doctor"

    def test_of_many_it_goes_by_the_limit(self) -> None:
        assert levels(self.given(FEW, 0)) == {("fallback_rate", ""): CRITICAL}
        quiet = judge(self.given(0, 0), Limits(p99=Limit(None, 0.001, SECONDS)))
        assert worst(quiet) is OK
        assert any("no call in 60 s" in each.text for each in quiet)

    def test_latency(self) -> None:
        limits = Limits(p99=Limit.parse("10ms:30ms", SECONDS))
        assert levels(self.given(0, 50), limits) == {("p99", ""): WARNING}
        assert found(self.given(0, 50), limits)["p99", ""].value == pytest.approx(0.02, rel=0.011)

    def test_no_journal_was_read(self) -> None:
        assert levels(replace(overview(), recent=None)) == {}


class TestServices:
    def test_nobody_consumes(self) -> None:
        lcr = replace(LCR, events=("invite",))
        gone = Service("old", "evapi.decide.old", 0, 0, ("invite",))
        warned = found(overview(services=(lcr, gone)))["consumers", "old"]
        assert (warned.level, warned.run) == (WARNING, "evapi-adapter services remove old"), (
            "LCR decides its events"
        )
        for missed in (replace(gone, asked_for=("invite",)), replace(gone, events=("other",))):
            assert found(overview(services=(lcr, missed)))["consumers", "old"].level is CRITICAL
        told = found(overview(services=(replace(LCR, consumers=0),)))
        assert told["consumers", "lcr"].level is CRITICAL
        assert "nobody consumes" in told["consumers", "lcr"].text

    def test_no_queue(self) -> None:
        assert levels(overview(services=(Service("x", "q", None, None, None),))) == {
            ("consumers", "x"): CRITICAL
        }

    def test_a_queue_that_may_not_be_looked_at(self) -> None:
        hidden = overview(services=(Service("x", "q", None, None, None, hidden=True),))
        assert levels(hidden) == {}
        limits = replace(Limits(), asked=frozenset({"consumers"}))
        assert levels(hidden, limits) == {("consumers", "x"): UNKNOWN}
        assert "look at its queue" in found(hidden, limits)["consumers", "x"].text

    def test_fewer_than_asked_for(self) -> None:
        limits = Limits(consumers=Limit.parse("3:1", least=True))
        told = found(overview(), limits)["consumers", "lcr"]
        assert (told.level, told.text) == (WARNING, "2 consumers, of at least 3")

    def test_depth_and_dead_letters(self) -> None:
        services = (replace(LCR, messages=101),)
        assert levels(overview(services=services, dead_letters=1)) == {
            ("queue_depth", "lcr"): WARNING,
            ("dead_letters", ""): WARNING,
        }
        assert levels(overview(dead_letters=1_500_000)) == {("dead_letters", ""): CRITICAL}
        assert found(overview(dead_letters=1_500_000))["dead_letters", ""].text == "1,500,000 dead letters"


def test_events_without_ids() -> None:
    beats = {"r1~a": beat("sbc1", without_ids={"invite_request": "tindex"}), "r2~a": beat(without_ids=None)}
    told = [each for each in judge(overview(beats=beats), Limits()) if each.check == "event"]
    text = "invite_request has no ids, but a member tindex: where it is a question, nobody answers it"
    assert [(each.level, each.of, each.text) for each in told] == [(WARNING, "invite_request", text)]


class TestPolicy:
    def judged(self, **beats: Beat) -> list[tuple[Level, str, str]]:
        given = overview(beats={f"{name}~a": each for name, each in beats.items()})
        return [(each.level, each.of, each.text) for each in judge(given, Limits()) if each.check == "policy"]

    def test_the_revision_that_counts(self) -> None:
        both = {"r1": beat("sbc1", policy="abc"), "r2": beat(policy="abc")}
        assert self.judged(**both) == [(OK, "", "revision abc")]

    def test_replicas_that_differ(self) -> None:
        both = {"r1": beat("sbc1", policy="abc"), "r2": beat(policy="def")}
        text = "replicas differ: r1 has abc, r2 has def; give all of them one file"
        assert self.judged(**both) == [(WARNING, "", text)]

    def test_a_wrong_file(self) -> None:
        found = self.judged(r1=beat("sbc1", policy="abc", policy_problem="p.toml, line 2: ..."))
        text = "its file is wrong, the policy before it counts: p.toml, line 2: ..."
        assert found == [(OK, "", "revision abc"), (WARNING, "r1", text)]

    def test_who_does_not_say_is_not_judged(self) -> None:
        assert self.judged(r1=beat("sbc1")) == []


def test_a_configuration_without_the_include_is_told_and_no_warning() -> None:
    links = {"sbc1": "paced", "sbc2": "receipts"}
    given = overview(beats={"r1~a": beat("sbc1", "sbc2", links=links)})
    rows = {each.of: each for each in judge(given, Limits()) if each.check == "node"}
    assert [rows[name].level for name in links] == [OK, OK]
    assert "it sends no receipts (no include?" in rows["sbc1"].text
    assert rows["sbc2"].text == "r1 is active"

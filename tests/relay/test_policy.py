"""The policy file: what each key means, and every way in which it can be wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import PolicyError, SettingsError
from adapter.evapi.link import PLAIN_MAX
from adapter.model.transaction import Outcome, Transaction, TransactionId
from adapter.relay import policy
from adapter.relay.plan import FALLBACK, Plan, resolved
from adapter.relay.policy import EMERGENCY, IN_FLIGHT, Policy
from adapter.relay.policy_keys import MAX_FALLBACK
from adapter.wire import to_kamailio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WHOLE = """
[default]
deadline = 1
fallback = { action = "reject", code = 480, reason = "Später" }
services = ["least_cost"]

[limits]
in_flight = 200
emergency = 20

[events.invite_request]
deadline = 3.5
services = ["screening", "least_cost"]

[events.quick]
fallback = { action = "allow" }
emergency = true
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "policy.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


class TestRead:
    def test_a_whole_one(self, tmp_path: Path) -> None:
        found = policy.read(written(tmp_path, WHOLE))
        later = json.dumps({"action": "reject", "code": 480, "reason": "Später"}, ensure_ascii=False)
        fallback = later.replace(", ", ",").replace(": ", ":").encode()
        assert found.default == resolved(Plan(1.0, fallback, ("least_cost",)), {})
        both = Plan(3.5, fallback, ("screening", "least_cost"))
        assert found.plan("invite_request") == resolved(both, {})
        quick = Plan(1.0, b'{"action":"allow"}', ("least_cost",), True)
        assert found.plan("quick") == resolved(quick, {})
        assert found.plan("any other") == found.default
        assert (found.in_flight, found.emergency) == (200, 20)
        assert found.services == {"least_cost", "screening"}
        assert found.longest_deadline == 3.5

    @pytest.mark.parametrize("text", ["", "[default]", "[limits]", "[events]", "[events.a]"])
    def test_everything_may_be_left_out(self, tmp_path: Path, text: str) -> None:
        found = policy.read(written(tmp_path, text))
        assert found.default == found.plan("a") == Plan()
        assert (found.default.deadline, json.loads(found.default.fallback)) == (2.0, FALLBACK)
        assert (found.in_flight, found.emergency) == (IN_FLIGHT, EMERGENCY)
        assert (found.services, found.longest_deadline) == (frozenset(), 2.0)

    def test_without_a_file(self) -> None:
        assert Policy() == policy.parse({})

    def test_the_default_deadline_may_be_the_longest(self) -> None:
        assert (
            policy.parse({"default": {"deadline": 9}, "events": {"a": {"deadline": 1}}}).longest_deadline
            == 9.0
        )

    def test_it_is_utf_8_whatever_the_locale(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("io.text_encoding", lambda encoding, _=2: encoding or "latin-1")
        assert "Später".encode() in policy.read(written(tmp_path, WHOLE)).default.fallback

    @pytest.mark.parametrize("text", ["default", "[default", "a = ", "[a]\n[a]", b"\xff", b"a = '\x00'"])
    def test_no_toml(self, tmp_path: Path, text: str | bytes) -> None:
        path = written(tmp_path, text)
        with pytest.raises(PolicyError, match="is no TOML") as caught:
            policy.read(path)
        assert caught.value.file == str(path)
        assert isinstance(caught.value, SettingsError)

    def test_nested_without_end(self, tmp_path: Path) -> None:
        path = written(tmp_path, f"a = {'[' * 10_000}{']' * 10_000}")
        with pytest.raises(PolicyError, match="is no TOML"):
            policy.read(path)

    @pytest.mark.parametrize("name", ["missing.toml", "."])
    def test_no_file(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(PolicyError, match="cannot be read") as caught:
            policy.read(tmp_path / name)
        assert caught.value.file == str(tmp_path / name)


NO_FALLBACKS: list[Any] = [
    *("reject", [], 503, {"x": float("nan")}, {"x": 1 << 63}, {"x": "\0"}, {"x": object()}),
]
BAD: list[tuple[str, dict[str, Any]]] = [
    ("defaults", {"defaults": {}}),
    ("deadline", {"deadline": 2.0}),
    ("default", {"default": 2.0}),
    ("default.timeout", {"default": {"timeout": 2.0}}),
    ("limits", {"limits": []}),
    ("limits.inflight", {"limits": {"inflight": 1}}),
    ("events", {"events": "a"}),
    ("events.a", {"events": {"a": 2.0}}),
    ("events.a_b", {"events": {"a.b": {}, "ab": {}, "a_b": {}}}),
    ("events.a.dead_line", {"events": {"a": {"dead_line": 2.0}}}),
    *(("limits.in_flight", {"limits": {"in_flight": value}}) for value in (0, -1, 1.5, "1", True, None)),
    *(("limits.emergency", {"limits": {"emergency": value}}) for value in (-1, 1.5, "1", True, None)),
    *(("events.a.format", {"events": {"a": {"format": bad}}}) for bad in ("xml", "JSON", "")),
    *(("events.a.emergency", {"events": {"a": {"emergency": value}}}) for value in (1, 0, "true", None)),
    *(
        ("default.deadline", {"default": {"deadline": value}})
        for value in (0, 0.009, 120.001, -1, "2", True, None, float("nan"), float("inf"), 1 << 70)
    ),
    *(("events.a.fallback", {"events": {"a": {"fallback": value}}}) for value in NO_FALLBACKS),
    ("default.fallback", {"default": {"fallback": {"x": "y" * MAX_FALLBACK}}}),
    *(
        ("default.services", {"default": {"services": value}})
        for value in ("least_cost", [1], [""], {"a": 1}, None, [["a"]])
    ),
]


class TestWhatIsWrong:
    @pytest.mark.parametrize(("key", "raw"), BAD)
    def test_it_is_named(self, key: str, raw: dict[str, Any]) -> None:
        with pytest.raises(PolicyError) as caught:
            policy.parse(raw)
        assert caught.value.variable == key

    def test_a_date_cannot_be_sent(self, tmp_path: Path) -> None:
        with pytest.raises(PolicyError, match=r"default\.fallback: cannot be sent to Kamailio"):
            policy.read(written(tmp_path, "[default]\nfallback = { at = 2020-01-01 }"))

    @pytest.mark.parametrize("seconds", [0.01, 120, 120.0])
    def test_the_bounds_themselves(self, seconds: float) -> None:
        assert policy.parse({"default": {"deadline": seconds}}).default.deadline == seconds

    @given(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3_000), st.text()
    )
    def test_a_fallback_that_is_taken_always_fits_a_resume(self, reason: str, name: str) -> None:
        try:
            found = policy.parse({"default": {"fallback": {"reason": reason}}})
        except PolicyError:
            assert len(json.dumps({"reason": reason}, ensure_ascii=False).encode()) >= MAX_FALLBACK
            return
        most = 2**32 - 1
        frame = to_kamailio.resume(
            TransactionId("n" * 100, most, most, most),
            "\N{LATIN SMALL LETTER E WITH ACUTE}" * 60,
            Outcome.UNROUTABLE,
            b"%b",
        )
        assert len(frame) - len(b"%b") + len(found.default.fallback) <= PLAIN_MAX
        assert found.plan(name) is found.default


class TestLanes:
    def claims(self, *events: str) -> list[Transaction]:
        return [
            Transaction(TransactionId("sbc1", 1, label, 1), event, 2.0, 0.0, b"", "r1")
            for label, event in enumerate(events)
        ]

    def labels(self, found: list[tuple[int, Sequence[Transaction]]]) -> list[tuple[int, list[int]]]:
        return [(limit, [each.id.label for each in lane]) for limit, lane in found]

    def test_without_an_emergency_there_is_one_lane(self) -> None:
        rules = policy.parse({"limits": {"in_flight": 5, "emergency": 2}})
        assert self.labels(rules.admission_classes(self.claims("a", "b"))) == [(5, [0, 1])]

    def test_the_emergency_goes_first_and_has_more_room(self) -> None:
        rules = policy.parse(
            {"limits": {"in_flight": 5, "emergency": 2}, "events": {"sos": {"emergency": True}}}
        )
        assert self.labels(rules.admission_classes(self.claims("a", "sos", "b", "sos"))) == [
            (7, [1, 3]),
            (5, [0, 2]),
        ]
        assert self.labels(rules.admission_classes(self.claims("sos"))) == [(7, [0])]

    def test_an_event_may_be_taken_out_of_it(self) -> None:
        rules = policy.parse({"default": {"emergency": True}, "events": {"a": {"emergency": False}}})
        assert self.labels(rules.admission_classes(self.claims("a", "b"))) == [
            (IN_FLIGHT + EMERGENCY, [1]),
            (IN_FLIGHT, [0]),
        ]

    @pytest.mark.parametrize("places", [0, 1])
    def test_no_places_of_its_own_is_a_choice(self, places: int) -> None:
        assert policy.parse({"limits": {"emergency": places}}).emergency == places

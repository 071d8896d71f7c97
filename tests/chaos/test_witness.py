"""The witness' log as calls, and calls as a report with its verdict."""

from __future__ import annotations

import pytest

from tests.chaos import witness
from tests.chaos.report import MARKDOWN, Bounds, Report, line, markdown_line
from tests.chaos.row import at_once, decided_again, timeouts_on_time
from tests.chaos.testimony import asked, logged, resumed


def test_each_way_to_end() -> None:
    found = logged(
        asked("a@h"),
        "something else",
        resumed("a@h", 100.25, "decided", "a@h"),
        asked("b@h"),
        resumed("b@h", 103.0, "timeout"),
        asked("c@h"),
        "witness local c@h 1:2 100.000100",
        asked("d@h"),
        "witness silent d@h 1:2 104.000000",
        asked("e@h"),
        "adapter: e@h could not be asked about",
        "witness silent e@h 1:2 100.000200",
        asked("f@h"),
    )
    assert [call.end for call in found.calls] == ["decided", "timeout", "local", "silent", "unsent", ""]
    assert [round(call.wait, 6) for call in found.calls] == [0.25, 3.0, 0.0001, 4.0, 0.0002, 0.0]
    assert not any(call.wrong for call in found.calls)
    assert found.strange == []


def test_what_is_wrong() -> None:
    another = logged(asked("a@h"), resumed("a@h", 101, "decided", "b@h"))
    nobody = logged(asked("a@h"), resumed("a@h", 101, "decided"))
    not_a_fallback = logged(asked("a@h"), resumed("a@h", 101, "timeout", "a@h"))
    two = logged(*[asked("a@h"), *[resumed("a@h", 101, "decided", "a@h")] * 2])
    for found in (another, nobody, not_a_fallback, two):
        assert [call.wrong for call in found.calls] == [True]
    assert two.calls[0].again == 1


def test_a_call_that_is_asked_in_two_lives_is_two_calls() -> None:
    found = logged(asked("a@h"), asked("a@h", 105, "3:4"), resumed("a@h", 106, "decided", "a@h", "3:4"))
    assert [(call.key, call.end) for call in found.calls] == [("1:2", ""), ("3:4", "decided")]
    late = logged(asked("a@h", 105, "3:4"), resumed("a@h", 106, "decided", "a@h", "1:2"))
    assert len(late.strange) == 1
    assert len(logged(resumed("x@h", 106, "decided", "x@h")).strange) == 1


def test_dropped_answers_are_counted() -> None:
    ids = '{"tm_index":9,"tm_label":8,"seq":1}'
    found = logged(f"adapter: no such question is open, dropped the answer to {ids}")
    assert found.dropped == [ids]
    report = Report(logged(asked("a@h"), resumed("a@h", 101, "decided", "a@h")), {})
    report.testimony.dropped += found.dropped
    assert Bounds().misses(report) == ["1 dropped"]
    assert Bounds(dropped=True).misses(report) == []


def mixed() -> Report:
    """Four calls: decided, timeout, local, silent."""
    found = logged(
        asked("a@h"),
        resumed("a@h", 100.5, "decided", "a@h"),
        asked("b@h", 101),
        resumed("b@h", 104.06, "timeout"),
        asked("c@h", 102),
        "witness local c@h 1:2 102.000000",
        asked("d@h", 103, "5:6"),
        "witness silent d@h 5:6 107.000000",
    )
    return Report(found, {"fault": 100.9, "back": 99.5}, {486: 1, 480: 1, 503: 1, 504: 1}, 4)


def test_figures() -> None:
    report = mixed()
    assert (report.decided, len(report.unanswered), len(report.wrong), report.dropped) == (1, 1, 0, 0)
    assert [report.longest, report.percentile(0.5)] == [4.0, pytest.approx(3.06)]
    assert report.mismatches() == []
    report.codes = {486: 2}
    assert "486: SIPp 2, witness 1" in report.mismatches()
    text = line("a row", report, ["bad"])
    assert "25.000%" in text
    assert "1 timeout" in text
    assert text.endswith("bad")
    assert "| 25.000 % | 1 timeout | 1 | 1 | 0 |" in markdown_line("a row", report, ["bad"])
    assert markdown_line("a row", report, []).count("|") == MARKDOWN.splitlines()[0].count("|")


def test_bounds() -> None:
    report = mixed()
    bounds = Bounds(0.9, frozenset({"timeout"}), checks=(timeouts_on_time, decided_again, at_once("timeout")))
    assert bounds.misses(report) == [
        "1 unanswered",
        "decided 25.000% < 90.0%",
        "1 local",
        "1 timeouts after 3.060 to 3.060 s",
        "1 not decided of 1 after the return",
        "1 of 1 timeout after up to 3.060 s",
    ]
    report.excused = frozenset({"5:6"})
    assert Bounds(0.3).misses(report) == []
    assert report.lost == 1
    report.placed = 6
    report.recovered = False
    assert Bounds(0.3).misses(report) == ["2 calls never reached the witness", "not back to normal"]
    report.out_of_reach = 2
    assert Bounds(0.3).misses(report) == ["not back to normal"]
    assert Bounds().misses(Report(witness.Testimony(), {})) == ["no calls"]

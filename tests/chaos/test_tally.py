"""Answers counted on the wire: planted second ones are found, whatever pieces they come in."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.report import Bounds, Report
from tests.chaos.rows_plain import carried
from tests.chaos.tally import Netstrings, Tally, answer, question
from tests.chaos.testimony import asked, logged, resumed
from tests.harness.process import wait_until
from tests.harness.proxy import Network

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMS = (
    b"invite_request:1:2:e30=",
    b'{"event":"invite_request","tm_trans":{"tm_index":1,"tm_label":2,"seq":1}}',
)


def netstring(payload: bytes) -> bytes:
    return b"%d:%b," % (len(payload), payload)


def resume(key: str = "1:2", seq: int = 1) -> bytes:
    index, _, label = key.partition(":")
    ids = {"tm_index": int(index), "tm_label": int(label), "seq": seq}
    return netstring(json.dumps({"tm_trans": ids, "outcome": "decided"}).encode())


def suspended(form: bytes = FORMS[0]) -> bytes:
    return netstring(form)


def counted(*passed: tuple[str, bool, bytes]) -> Tally:
    tally = Tally()
    for connection, to_server, data in passed:
        tally.tap(connection, to_server, data)
    return tally


@given(st.lists(st.binary(max_size=20), max_size=5), st.data())
def test_netstrings_are_found_in_any_pieces(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(netstring, payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader, found = Netstrings(), list[bytes]()
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[begin:end])
    assert found == payloads
    assert not reader.broken


@pytest.mark.parametrize("stream", [b"x:", b"3:abcd", b"GET / HTTP/1.1"])
def test_what_is_no_netstring_ends_the_reading(stream: bytes) -> None:
    reader = Netstrings()
    assert reader.feed(stream) == []
    assert reader.broken
    assert reader.feed(netstring(b"late")) == []


def test_questions_and_answers_are_known_by_their_ids() -> None:
    assert [question(form) for form in FORMS] == ["1:2", "1:2"]
    for other in (
        b"call_ended:::e30=",
        b'{"event":"x"}',
        b'{"adapter":{"hello":1}}',
        b"",
        b"{",
        b"[1]",
        b"a",
    ):
        assert question(other) is None
        assert answer(other) is None
    assert answer(b'{"tm_trans":{"tm_index":1,"tm_label":2,"seq":3}}') == ("1:2", 3)
    assert answer(b'{"tm_trans":{"tm_index":1,"tm_label":2}}') == ("1:2", 0)


@pytest.mark.parametrize("form", FORMS)
def test_one_answer_to_each_question_is_right(form: bytes) -> None:
    both = [("a", False, suspended(form)), ("b", False, suspended(form))]
    assert counted(*both, ("a", True, resume())).twice == {}


def test_a_second_answer_is_found_through_whatever_link_it_comes() -> None:
    both = [("a", False, suspended()), ("b", False, suspended()), ("a", True, resume())]
    for link, seq in (("a", 1), ("b", 1), ("b", 2)):
        tally = counted(*both, (link, True, resume(seq=seq)))
        assert (tally.twice, tally.written) == ({"1:2": 1}, 2)


def test_a_second_question_may_be_answered_and_not_both_to_the_first() -> None:
    twice_asked = [("a", False, suspended()), ("a", False, suspended())]
    assert counted(*twice_asked, ("a", True, resume(seq=1)), ("a", True, resume(seq=2))).twice == {}
    assert counted(*twice_asked, ("a", True, resume(seq=1)), ("a", True, resume(seq=1))).twice == {"1:2": 1}


def test_an_answer_that_nobody_was_asked_for_counts_from_the_second_on() -> None:
    """The link that has heard the question may have been another Kamailio's life."""
    assert counted(("a", True, resume())).twice == {}
    assert counted(("a", True, resume()), ("b", True, resume())).twice == {"1:2": 1}


def through_a_network(answers: Sequence[bytes]) -> Tally:
    """Ask over two links that real proxies tap; the answers go by each in turn."""
    tally = Tally()
    with contextlib.ExitStack() as opened, Network() as network:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        proxy = network.proxy(server.getsockname()[1], tally.tap)
        links, ends = [], []
        for _ in range(2):
            links.append(opened.enter_context(socket.create_connection(("127.0.0.1", proxy.port), 5)))
            ends.append(opened.enter_context(server.accept()[0]))
            ends[-1].sendall(suspended())
            assert links[-1].recv(100) == suspended()
        for number, each in enumerate(answers):
            links[number % 2].sendall(each)
        wait_until(lambda: tally.written == len(answers), "the answers to pass", 5)
    return tally


def test_a_planted_second_answer_fails_a_plain_row() -> None:
    told = [asked("a@h"), resumed("a@h", 101, "decided", "a@h")]
    for answers, misses in (([resume()], []), ([resume(), resume()], ["1 answered twice"])):
        report = Report(logged(*told), {}, placed=1, twice=through_a_network(answers).twice, plain=True)
        assert Bounds().misses(report) == misses
    report.plain = False  # the include drops it, and its own notice is what counts
    assert Bounds().misses(report) == []


def test_a_planted_lost_call_and_a_wrong_outcome_fail_any_row() -> None:
    for plain in (False, True):
        lost = Report(logged(asked("a@h")), {}, placed=1, plain=plain)
        assert Bounds(0.0).misses(lost) == ["1 unanswered"]
        wrong = Report(logged(asked("a@h"), resumed("a@h", 101, "decided", "b@h")), {}, placed=1, plain=plain)
        assert Bounds(0.0).misses(wrong) == ["1 wrong"]


def test_answers_that_kamailio_never_read_are_told() -> None:
    told = [asked("a@h"), "witness answer 1:2", resumed("a@h", 101, "decided", "a@h")]
    assert Report(logged(*told), {}, plain=True, written=3).unread == 2


def in_seconds(*decided: int) -> Report:
    """So many decisions in each second, in time, and one call more in each that gets the fallback."""
    lines: list[str] = []
    for second, count in enumerate(decided):
        for number in range(count + 1):
            at, key = 100 + second + number / 1000, f"{second}:{number}"
            outcome = ("decided", "a@h") if number < count else ("overload", "-")
            lines += [asked("a@h", at, key), resumed("a@h", at + 0.01, *outcome, key=key)]
    return Report(logged(*lines), {}, plain=True)


def test_what_the_pace_carries_is_to_be_in_time_all_along() -> None:
    assert carried(in_seconds(1, 10, 9, 8, 10, 1)) is None
    assert carried(in_seconds(1, 10, 9, 7, 10, 1)) == "decided in a second: 7 to 10"
    assert carried(in_seconds(0, 0, 0, 0)) == "decided in a second: 0 to 0"

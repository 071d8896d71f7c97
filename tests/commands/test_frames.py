"""Frames without a command are pushed as they are, and done when Kamailio has read them."""

from __future__ import annotations

import pytest

from adapter.commands.frames import MAX_UNREAD
from adapter.model.transaction import RESEND_FOR
from adapter.wire import netstring
from tests.commands.bench import Bench


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_they_are_pushed_as_they_are_and_done_with_their_receipt(bench: Bench) -> None:
    body = b'{"event":"kick", "user":"100"}'
    await bench.asked(body)
    assert bench.links.sent[0] == ("sbc1", body, RESEND_FOR, None)
    assert bench.replies == []
    token = bench.written[1]["sync"]
    await bench.told({"synced": token}, "sbc2")
    assert bench.replies == [], "another node's"
    await bench.told({"synced": token})
    assert bench.outcomes == [("c1", "done")]
    assert bench.counted("sbc1", "frame", "done") == 1


async def test_without_anybody_who_waits_there_is_no_receipt(bench: Bench) -> None:
    await bench.asked(b'{"a":1}', reply_to="")
    assert bench.written == [{"a": 1}]
    assert bench.outcomes == [("c1", "")], "acknowledged at once"


async def test_without_a_receipt_it_is_a_timeout(bench: Bench) -> None:
    await bench.asked(b'{"a":1}', within=3.0)
    await bench.later(2.9)
    assert bench.replies == []
    await bench.later(0.2)
    assert bench.outcomes == [("c1", "timeout")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not-json"),
        (b"\xff", "not-json"),
        (b"[" * 30_000, "not-json"),
        (b"[" * 100_000, "too-large"),
        (b"[1]", "not-a-command"),
        (b'{"tm_trans":{"tm_index":1,"tm_label":2}}', "not-a-command"),
        (b'{"tm_tr\\u0061ns":{}}', "not-a-command"),
        (b'{"tm_index":1}', "not-a-command"),
        (b'{"tm_label":1}', "not-a-command"),
        (b'{"adapter":{"status":"ready"}}', "not-a-command"),
        (b'{"a":"' + b"x" * netstring.MAX_OUT + b'"}', "too-large"),
        ('{"a":1}'.encode("utf-16"), "not-json"),
        (b"\xef\xbb\xbf{}", "not-json"),
        (b'{"a":NaN}', "not-json"),
        (b'{"a":"\\u0000"}', "nul"),
    ],
    ids=lambda value: str(value[:20]),
)
async def test_what_must_not_be_pushed_is_refused_and_kept(bench: Bench, body: bytes, reason: str) -> None:
    await bench.asked(body)
    assert [why for why, _ in bench.letters] == [reason]
    assert bench.outcomes == [("c1", "refused")]
    assert bench.written == []


async def test_to_a_node_that_does_not_read_no_more_than_so_many(bench: Bench) -> None:
    bench.links.commands_waiting = MAX_UNREAD - 1
    await bench.asked(b"{}", reply_to="")
    bench.links.commands_waiting = MAX_UNREAD
    await bench.asked(b"{}")
    assert [why for why, _ in bench.letters] == ["overload"]
    assert bench.outcomes[-1] == ("c1", "unavailable")
    assert len(bench.written) == 1


async def test_what_is_more_than_the_node_reads(bench: Bench) -> None:
    bench.links.longest = 20
    await bench.asked(b'{"event":"kick, please"}')
    assert [why for why, _ in bench.letters] == ["too-large"]
    assert bench.written == []


@pytest.mark.parametrize("node", ["sbc1", "sbc9"])
async def test_only_to_a_configuration_that_tells_them_from_resumes(bench: Bench, node: str) -> None:
    bench.links.gated = False
    await bench.asked(b"{}", node)
    assert [why for why, _ in bench.letters] == ["no-hello"]
    assert bench.outcomes == [("c1", "unavailable")]

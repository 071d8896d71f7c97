"""What the fuzzers begin with: one good example of each form, each behind its selector bytes."""

from __future__ import annotations

from typing import Any

from adapter import contract
from adapter.wire import netstring

EVENTS = (
    b"invite_request:37:1840980198:eyJydXJpIjoic2lwOmFAYiJ9",
    b"call_ended:::eyJjYWxsX2lkIjoiYyJ9",
    b'{"event":"e","tm_trans":{"tm_index":37,"tm_label":18,"seq":2},"data":{"a":[1,"b",null,1.5]}}',
    b'{"event":"e","tr_index":"37","tr_label":"18","seq":1,"ua":"x\\u00e9"}',
    b'{"tm_index":37,"tm_label":18,"event":"e","data":oops}',
    b'{"adapter":{"hello":1,"receipts":true,"gate":true,"life":"1-2"}}',
    b'{"adapter":{"synced":"abcd:12"}}',
)
REPLIES = (
    {"action": "route", "uri": "sip:gw7.example.net", "headers": {"X-A": "1"}},
    {"action": "reject", "code": 503, "reason": "no \u00e9", "list": [1.5, -1, None, True]},
)


def streams() -> list[bytes]:
    """For ``fuzz_events``: two selector bytes, then a stream."""
    frames = [netstring.encode(event) for event in EVENTS]
    return [b"\0\0" + frame for frame in frames] + [b"\7\3" + b"".join(frames)]


def bodies() -> list[bytes]:
    """For ``fuzz_contract``: one selector byte, then a body."""
    whole = contract.Request("invite_request", "sbc1", {"a": 1, "b": b"x"}, 1, 2, 3, 4.0)
    notice = contract.Request("call_ended", "sbc1", b"bytes")
    found = [b"\0" + contract.encode_request(request) for request in (whole, notice)]
    for reply in REPLIES:
        found += [b"\1" + contract.encode_reply(reply), b'\2{"action":"route","code":1e2,"x":["\\u00e9"]}']
    return [*found, b'\3{"command":"reload"}']


def deliveries() -> list[bytes]:
    """For ``fuzz_replies``: a selector byte, a length of the properties, those, then a body."""
    from pamqp.commands import Basic

    from adapter.contract import HEADER_NODE, HEADER_SERVICE, HEADER_STATUS

    deaths: Any = {"x-death": [{"reason": "rejected", "count": 1}], HEADER_NODE: "sbc1"}
    answered: Any = {HEADER_SERVICE: "lcr", HEADER_STATUS: "failed"}
    found = []
    for selector, headers in ((b"\0", answered), (b"\1", deaths)):
        properties = Basic.Properties(
            content_type=contract.MSGPACK, correlation_id="sbc1:37:18:1", headers=headers
        )
        raw = properties.marshal()
        found.append(
            selector + len(raw).to_bytes(2, "big") + raw + contract.encode_reply({"action": "allow"})
        )
    return found

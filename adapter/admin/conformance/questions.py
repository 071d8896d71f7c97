"""What a consumer is asked: the questions, and the body and headers of each. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgpack

from adapter import bodies, contract

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXAMPLE: Final[Mapping[str, Any]] = {
    "method": "INVITE",
    "ruri": "sip:+441632960000@example.net",
    "from": "sip:+441632960001@example.net",
    "user": "+441632960000",
    "caller": "+441632960001",
    "call_id": "conformance@example.net",
}
"""The data of a call, where nobody gives other ones."""
PAST: Final = 5.0
"""Seconds for which the deadline of an expired request is over: more than clocks differ by."""
UNKNOWN_KEYS: Final[Mapping[str, Any]] = {
    "x_of_a_later_version": {"list": [1, None, True, 1.5], "map": {}},
    "priority": 3,
}
UNKNOWN_HEADERS: Final[Mapping[str, Any]] = {
    "x-of-a-later-version": "text",
    "x-flag": True,
    "x-number": 1 << 40,
    "x-share": 0.5,
    "x-nothing": None,
    "x-table": {"list": ["a", 1, {"b": False}]},
}
DECISIONS: Final[Mapping[str, contract.Decision]] = {
    "conformance-screening": {"action": "allow", "caller": "known"},
    "conformance-fraud": {"action": "allow", "score": 0.25},
}
"""What two other services of a chain decided before."""
UNREADABLE: Final = b"\xc1\xff no msgpack"
"""0xc1 begins nothing in msgpack."""
UNREADABLE_JSON: Final = b'{"event": broken off'
BATCH: Final = 2
_SPARE: Final = 64
"""Bytes by which the largest request stays below ``MAX_BODY``."""


class Question(StrEnum):
    """What is asked, in the order in which a run asks it: what a consumer may die of comes last."""

    PLAIN = "plain"  # a call
    OTHER_NODE = "other-node"  # a call of another node, whose replies go to another queue
    UNKNOWN_KEYS = "unknown-keys"
    UNKNOWN_HEADERS = "unknown-headers"
    DECISIONS = "decisions"  # it says what other services decided before
    REDELIVERED = "redelivered"  # it comes a second time, with the flag ``redelivered``
    LARGE = "large"  # 1 MB of data
    EXPIRED = "expired"  # its deadline is over
    NOTICE = "notice"  # nobody waits for an answer
    OBSERVED = "observed"  # a whole request, for whose answer nobody waits
    BYTES = "bytes"  # the data are no map
    BATCH = "batch"  # two requests in one message
    UNREADABLE = "unreadable"  # the body is no request

    @property
    def answerable(self) -> bool:
        """Whether a reply, or a rejection, is to come; of the others silence is right."""
        return self is not Question.EXPIRED and not self.unaddressed

    @property
    def unaddressed(self) -> bool:
        """Whether it says neither to whom to reply nor with which correlation id."""
        return self in (Question.NOTICE, Question.OBSERVED)

    @property
    def refusable(self) -> bool:
        """Whether it may be rejected to the dead letters."""
        return self in (Question.BYTES, Question.BATCH, Question.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Call:
    """The call that is played again and again.

    Args:
        event: its event.
        node: the Kamailio that seems to ask.
        data: of the event.
        timeout: seconds that the consumer has.
        as_json: whether requests are in JSON, as the policy may have it.
    """

    event: str
    node: str
    data: Mapping[str, Any] = field(default_factory=lambda: dict(EXAMPLE))
    timeout: float = 2.0
    as_json: bool = False

    def request(
        self,
        seq: int,
        now: float,
        data: Any = None,
        decisions: Mapping[str, contract.Decision] = MappingProxyType({}),
    ) -> bytes:
        """The body of one suspension of it. ``now``: epoch seconds. Raises CodecError."""
        given = dict(self.data) if data is None else data
        request = contract.Request(self.event, self.node, given, 0, 0, seq, now + self.timeout, decisions)
        return contract.encode_request(request, self.as_json)

    def packed(self, found: Any) -> bytes:
        """Anything in the format of its requests."""
        if self.as_json:
            return json.dumps(found).encode()
        packed: bytes = msgpack.packb(found, use_bin_type=True)
        return packed


@dataclass(frozen=True, slots=True)
class Content:
    """What is particular about one request: its body, more headers, and its time left if that is over."""

    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    past: float = 0.0


def content(question: Question, call: Call, seq: int, now: float) -> Content:
    """The content of a request. Raises CodecError for data that cannot be packed.

    Args:
        question: what is asked.
        call: the call that it is asked about.
        seq: numbers the suspension.
        now: epoch seconds.
    """
    make = _CONTENTS.get(question, _plain)
    return make(call, seq, now)


def _plain(call: Call, seq: int, now: float) -> Content:
    return Content(call.request(seq, now))


def _unknown_keys(call: Call, seq: int, now: float) -> Content:
    return Content(call.packed({**bodies.decode(call.request(seq, now)), **UNKNOWN_KEYS}))


def _unknown_headers(call: Call, seq: int, now: float) -> Content:
    return Content(call.request(seq, now), UNKNOWN_HEADERS)


def _decisions(call: Call, seq: int, now: float) -> Content:
    return Content(call.request(seq, now, decisions=DECISIONS))


def _large(call: Call, seq: int, now: float) -> Content:
    """As long as a body may be."""
    room = contract.MAX_BODY - len(call.request(seq, now)) - _SPARE
    return Content(call.request(seq, now, {**call.data, "padding": "x" * max(room, 0)}))


def _expired(call: Call, seq: int, now: float) -> Content:
    return Content(call.request(seq, now - call.timeout - PAST), past=PAST)


def _notice(call: Call, seq: int, now: float) -> Content:
    request = contract.Request(call.event, call.node, dict(call.data))
    return Content(contract.encode_request(request, call.as_json))


def _bytes(call: Call, seq: int, now: float) -> Content:
    return Content(call.request(seq, now, b"\x00\xffno JSON object"))


def _batch(call: Call, seq: int, now: float) -> Content:
    one = bodies.decode(call.request(seq, now)) | {"headers": {}}
    several = [one | {"correlation_id": f"{call.node}:0:{number}:{seq}"} for number in range(BATCH)]
    return Content(call.packed(several), {"x-batch": BATCH})


def _unreadable(call: Call, seq: int, now: float) -> Content:
    return Content(UNREADABLE_JSON if call.as_json else UNREADABLE)


_CONTENTS: Final[Mapping[Question, Callable[[Call, int, float], Content]]] = {
    Question.UNKNOWN_KEYS: _unknown_keys,
    Question.UNKNOWN_HEADERS: _unknown_headers,
    Question.DECISIONS: _decisions,
    Question.LARGE: _large,
    Question.EXPIRED: _expired,
    Question.NOTICE: _notice,
    Question.BYTES: _bytes,
    Question.BATCH: _batch,
    Question.UNREADABLE: _unreadable,
}

"""Several requests, or several replies, in one message: a msgpack array of maps. Pure.

Only between the adapter and services whose policy says ``batch``. Each request is the map that it would be
alone (``contract.encode_request``), with its ``correlation_id`` and its ``headers`` in it. Each reply is a
map of ``correlation_id``, ``body`` and, where they say more than the message's own, ``headers``. The message
says by ``x-batch`` how many there are. One request is never a batch: it goes as it does without them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from adapter import bodies, contract
from adapter.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST: Final = 1_000
"""Requests in one message at most, whatever a policy says."""
MAX_BYTES: Final = contract.MAX_REPLY
"""Of the body of a batch: of a longer one that died the adapter would see its beginning alone, and could not
tell its calls."""
HEAD: Final = 3
"""Bytes that come before the first request, at most."""
_ITEM, _TRACE = 44, 15
"""Bytes that a request takes at most beside its body and its correlation id, and the name of its trace."""
ID: Final = "correlation_id"
HEADERS: Final = "headers"
BODY: Final = "body"

_FIRST_MAP, _LAST_MAP = 0x80, 0x8D
"""Maps whose first byte tells how many keys they have, with room for two more."""
_MAX_ID: Final = 255
"""Bytes: a property of AMQP has no more, and a reply may have to go alone."""
_pack: Final = msgpack.Packer(use_bin_type=True, autoreset=True).pack
_pack_read: Final = msgpack.Packer(use_bin_type=True, autoreset=True, datetime=True).pack
"""Of what was unpacked here, in which there may be times: no adapter writes one, and others may."""
_ID_KEY: Final = _pack(ID)
_HEADERS_KEY: Final = _pack(HEADERS)


class Asked(NamedTuple):
    """One request of a batch. ``request``: the map that is its body if it comes alone."""

    correlation_id: str
    headers: Mapping[str, Any]
    request: dict[str, Any]


class Replied(NamedTuple):
    """One reply of a batch."""

    correlation_id: str
    headers: Mapping[str, Any] | None
    body: bytes


def is_one(body: bytes) -> bool:
    """Return True if a body is a msgpack array, which no request and no reply is."""
    first = body[0] if body else 0
    return 0x90 <= first <= 0x9F or first in (0xDC, 0xDD)


def takes(body: bytes) -> bool:
    """Return True if a request's body can be part of a batch: it is in msgpack, and not large."""
    return len(body) <= MAX_BYTES // 2 and _FIRST_MAP <= (body[0] if body else 0) <= _LAST_MAP


def size(body: bytes, correlation_id: str, traceparent: str = "") -> int:
    """Return how many bytes of a batch a request takes, at most: see ``request``."""
    id_ = len(correlation_id) if correlation_id.isascii() else len(correlation_id.encode())
    return len(body) + id_ + _ITEM + (len(traceparent) + _TRACE if traceparent else 0)


def request(body: bytes, correlation_id: str, left: int, traceparent: str = "") -> bytes:
    """Return a request as part of a batch.

    Args:
        body: what ``contract.encode_request`` made, and ``takes`` is true for.
        correlation_id: its own.
        left: milliseconds until its deadline.
        traceparent: of its call; "" if that is not traced.
    """
    more = _headers(left) if not traceparent else _headers.__wrapped__(left, traceparent)
    # Two keys more: their number stands in the first byte.
    return b"".join((bytes((body[0] + 2,)), body[1:], _ID_KEY, _pack(correlation_id), _HEADERS_KEY, more))


@lru_cache(maxsize=4096)
def _headers(left: int, traceparent: str = "") -> bytes:
    found: dict[str, Any] = {contract.HEADER_TIME_LEFT: left}
    if traceparent:
        found[contract.HEADER_TRACEPARENT] = traceparent
    packed: bytes = _pack(found)
    return packed


def reply(correlation_id: str, body: bytes, headers: Mapping[str, Any] | None = None) -> bytes:
    """Return a reply as part of a batch. ``headers``: those that it does not share with the message."""
    found: dict[str, Any] = {ID: correlation_id, BODY: body}
    if headers:
        found[HEADERS] = headers
    packed: bytes = _pack(found)
    return packed


def joined(parts: Sequence[bytes]) -> bytes:
    """Return the body of a batch."""
    count = len(parts)
    head = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return head + b"".join(parts)


def asked(body: bytes) -> list[Asked]:
    """Read a batch of requests. Raises CodecError if it is none, or any of them is no request's map."""
    return [_asked(each) for each in _array(body)]


def replied(body: bytes) -> tuple[list[Replied], str]:
    """Read a batch of replies: those that are understood, and what is wrong with the others, if anything is.

    A reply's ``body`` may be the decision's map itself. Raises CodecError for what is no batch.
    """
    found, wrong = [], ""
    for each in _array(body):
        try:
            found.append(_replied(each))
        except CodecError as exc:
            wrong = exc.detail
    return found, wrong


def alone(request: Mapping[str, Any]) -> bytes:
    """Return the body that one out of a batch has alone, of its map. Raises CodecError."""
    try:
        packed: bytes = _pack_read(request)
    except (ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise CodecError("unencodable", f"{type(exc).__name__}: {exc}") from exc
    return packed


def _array(body: bytes) -> list[Any]:
    if not is_one(body):
        raise CodecError("not-a-batch", f"no msgpack array: {bodies.beginning(body)}")
    try:
        found: list[Any] = msgpack.unpackb(body, timestamp=3)
    except (ValueError, OverflowError, RecursionError) as exc:  # every msgpack error is a ValueError
        raise CodecError("not-msgpack", f"{type(exc).__name__}: {exc}") from exc
    return found


def _asked(found: Any) -> Asked:
    id_ = _id(found)
    del found[ID]
    headers = found.pop(HEADERS, None)
    if headers is not None and type(headers) is not dict:
        raise CodecError("not-a-batch", "a request of it whose headers are no map")
    return Asked(id_, headers or {}, found)


def _replied(found: Any) -> Replied:
    id_, headers, body = _id(found), found.get(HEADERS), found.get(BODY)
    if type(body) is dict:
        body = alone(body)
    if type(body) is not bytes or not (headers is None or type(headers) is dict):
        raise CodecError("not-a-batch", "a reply of it without a body, or with headers that are no map")
    return Replied(id_, headers, body)


def _id(found: Any) -> str:
    id_ = found.get(ID) if type(found) is dict else None
    if type(id_) is not str or not 0 < (len(id_) if id_.isascii() else len(id_.encode())) <= _MAX_ID:
        raise CodecError("not-a-batch", f"a part of it has no {ID} of up to {_MAX_ID} bytes")
    return id_

"""An entry of the journal: what it is, and how it is read. Pure.

An entry is a msgpack array of batches ``[kind, at, items]``; ``at`` is
epoch seconds by the replica's clock. A batch of resumes has the revision of their policy as a fourth. An
item is, by kind::

    EVENT      [id, event, call_id, arrived, request]    claimed; arrived in epoch seconds; the request's
                                                         body where payloads are kept, else nil
    PUBLISHED  id       the broker has confirmed it
    REPLY      [id, service, received, replied, fault]    epoch seconds by the consumer's clock, or nil;
                                                          why it is no decision, or nil
    RESUME     [id, event, call_id, outcome, seconds, decision]   seconds since the event came
    READ       id       Kamailio has read the resume
    ADOPTED    id       taken over from another replica
    COMMAND    [node, name, command's id, call_id, outcome, seconds, detail]   a command to Kamailio is over
    STEP       [id, event, service, status, seconds]   one service's part in a course, since it was asked;
                                                       with service "" and a step of the ladder as status:
                                                       what decided, since the event came

with ``id`` as ``[node, index, label, seq]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import msgpack

from adapter.errors import CodecError
from adapter.model.transaction import TransactionId
from adapter.observe.sink import Commanded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Kind(IntEnum):
    """A step of a call; see above."""

    EVENT = 1
    PUBLISHED = 2
    REPLY = 3
    RESUME = 4
    READ = 5
    ADOPTED = 6
    STEP = 7
    COMMAND = 8


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to one suspension ``at`` epoch seconds. ``more``: what its kind has beside it."""

    kind: Kind
    at: float
    id: TransactionId
    event: str = ""
    call_id: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


_MORE: Final = {
    Kind.EVENT: ("event", "call_id", "arrived", "request"),
    Kind.REPLY: ("service", "received", "replied", "fault"),
    Kind.RESUME: ("event", "call_id", "outcome", "seconds", "decision"),
    Kind.STEP: ("event", "service", "status", "seconds"),
}


def unpack(entry: bytes) -> list[Step]:
    """The steps of an entry, in the order in which they were noted. Raises CodecError."""
    try:
        return list(_steps(msgpack.unpackb(entry, unicode_errors="surrogatepass")))
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise CodecError("journal", f"no entry of a journal: {type(exc).__name__}: {exc}") from exc


def unpack_commands(entry: bytes) -> list[tuple[float, Commanded]]:
    """The commands of an entry, and when each ended (epoch seconds). Raises CodecError."""
    try:
        batches = msgpack.unpackb(entry, unicode_errors="surrogatepass")
        return [
            (at, Commanded(*item))
            for number, at, items, *_ in batches
            if number == Kind.COMMAND
            for item in items
        ]
    except (ValueError, TypeError, RecursionError) as exc:
        raise CodecError("journal", f"no entry of a journal: {type(exc).__name__}: {exc}") from exc


def _steps(batches: Iterable[Any]) -> Iterable[Step]:
    for number, at, items, *revision in batches:
        kind = Kind(number)
        if kind is Kind.COMMAND:
            continue  # of no suspension: see unpack_commands
        names = _MORE.get(kind)
        for item in items:
            if names is None:
                yield Step(kind, at, TransactionId(*item))
                continue
            more = dict(zip(names, item[1:], strict=True))
            event, call_id = more.pop("event", ""), more.pop("call_id", "")
            more = {key: value for key, value in more.items() if value is not None}
            if revision and revision[0]:
                more["policy"] = revision[0]
            yield Step(kind, at, TransactionId(*item[0]), event, call_id, more)

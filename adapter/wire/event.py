"""EVAPI payloads: what Kamailio says. Pure. What it is told: see ``adapter.wire.to_kamailio``.

Three forms, told apart by the first byte::

    colon   invite_request:37:1840980198:eyJydXJp...    name, tm index, tm label, base64 of the data
    JSON    {"event":...,"tm_trans":{"tm_index":37,"tm_label":1840980198,"seq":2},...}
    notice  either form without ids

Whatever one frame holds, `parse` returns and never raises: a frame that is not understood is
`Malformed`, with its ids where they could be read, since a call is suspended behind them.
"""

from __future__ import annotations

import binascii
import contextlib
import re
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from adapter.bodies import decode_json
from adapter.errors import CodecError
from adapter.records import record
from adapter.wire import command
from adapter.wire.command import Result as Result
from adapter.wire.leading import TOP_LEVEL_IDS, leading_members
from adapter.wire.netstring import HEAD, CutShort, Oversized, Payload

MAX_EVENT_NAME: Final = 120
"""Bytes of an event name: with the node it must fit an AMQP short string (255)."""
MAX_TM_ID: Final = 0xFFFFFFFF
"""tm keeps index and label as unsigned 32-bit integers."""
MAX_INCARNATION: Final = 64
"""Characters of the name of a life that are kept."""


@record
class Suspended:
    """A transaction waits. ``seq`` is ``None`` where the frame does not count suspensions."""

    event: str
    index: int
    label: int
    seq: int | None
    data: Any


@record
class Notice:
    """An event for which nothing is suspended."""

    event: str
    data: Any


@record
class Hello:
    """The configuration knows receipts and the health gate.

    ``version``: Kamailio's, empty where it does not say. ``unordered``: several of its processes handle
    frames, so that a receipt would prove nothing.
    """

    receipts: bool
    gate: bool
    incarnation: str = ""
    version: str = ""
    unordered: bool = False


@record
class Synced:
    """Kamailio has read up to the sync frame of this token. ``open``: whether the suspension that
    the frame named still waits for its answer; None where it named none.
    """

    token: str
    open: bool | None = None


@record
class Malformed:
    """A frame not understood. ``ids`` (index, label, seq) where a transaction waits behind it."""

    reason: str
    detail: str
    frame: bytes
    event: str = ""
    ids: tuple[int, int, int | None] | None = None


class LazySuspended(NamedTuple):
    """A suspension of which only the ids were read: what another replica is to claim costs no more."""

    index: int  # type: ignore[assignment]  # tuple has a method of that name, which nobody calls
    label: int
    seq: int
    frame: bytes


Event = Suspended | Notice | Hello | Synced | Result | Malformed
Handed = Suspended | Notice | Malformed | LazySuspended
"""What a link hands on to the relay."""

_GLANCE: Final = re.compile(
    rb'\{"event":"[\w.-]{1,120}","tm_trans":\{"tm_index":(\d{1,9}),"tm_label":(\d{1,10}),"seq":([1-9]\d{0,8})\}'
)
"""How the shipped configuration's frames begin: jansson keeps the order in which members were set."""


def peek_ids(frame: Payload) -> LazySuspended | None:
    """The ids alone, where the frame begins as the shipped configuration has it."""
    found = _GLANCE.match(frame) if isinstance(frame, bytes) else None
    if found is None or (label := int(found[2])) > MAX_TM_ID:
        return None
    return LazySuspended(int(found[1]), label, int(found[3]), found.string)


def read_on(unparsed: LazySuspended) -> Suspended | Malformed:
    """The whole of it. A frame that ends with other ids than it began with is malformed."""
    found = parse(unparsed.frame)
    ids = unparsed[:3]
    if isinstance(found, Suspended) and (found.index, found.label, found.seq) == ids:
        return found
    if isinstance(found, Malformed):
        return replace(found, ids=ids)
    return Malformed("ids", "ids that contradict each other", unparsed.frame, ids=ids)


def parse(frame: Payload) -> Event | None:
    """Read one payload. ``None``: a frame between adapters and configuration that is not for us."""
    problem = None
    if isinstance(frame, Oversized):
        problem = CodecError("too-large", f"payload of {frame.length} bytes")
        frame = frame.head
    elif isinstance(frame, CutShort):
        problem = CodecError("cut-short", _cut_short(frame))
        frame = frame.head
    if frame[:1] == b"{":
        return _parse_json(frame, problem)
    return _parse_colon(frame, problem)


def _cut_short(frame: CutShort) -> str:
    behind = f"; {frame.lost} bytes behind it are lost" if frame.lost else ""
    return (
        f"{frame.length} bytes declared, ends after {len(frame.head)}: a NUL in what a caller wrote{behind}"
    )


def _parse_json(frame: bytes, problem: CodecError | None) -> Event | None:
    raw: dict[str, Any] = {}
    if problem is None:
        try:
            raw = decode_json(frame.decode())
        except CodecError as exc:
            problem = exc
        except (ValueError, RecursionError) as exc:
            problem = CodecError("not-json", f"{type(exc).__name__}: {exc}")
    ids: tuple[Any, Any, Any] = (None, None, None)
    if problem is None:
        if "adapter" in raw and "event" not in raw:
            return _parse_adapter(frame, raw["adapter"])
        try:
            ids = _pop_ids(raw)
        except CodecError as exc:
            problem = exc
    if problem is not None:
        raw = leading_members(frame[:HEAD].decode("utf-8", "surrogateescape"))
        with contextlib.suppress(CodecError):
            ids = _pop_ids(raw)
    event = raw.pop("event", None)
    data = raw.get("data")
    return _judged(frame, event, ids, data if isinstance(data, dict) else raw, problem)


def _parse_adapter(frame: bytes, told: Any) -> Event | None:
    if not isinstance(told, dict):
        return Malformed("adapter-frame", "adapter is no object", frame)
    if isinstance(told.get("synced"), str):
        if told["synced"].startswith(command.RECEIPT):
            return command.receipt(told["synced"])
        still = told.get("open")
        return Synced(told["synced"], still if isinstance(still, bool) else None)
    if "hello" in told:
        incarnation, version, unordered = told.get("life"), told.get("version"), told.get("unordered") is True
        return Hello(
            receipts=told.get("receipts") is True and not unordered,
            gate=told.get("gate") is True,
            incarnation=incarnation[:MAX_INCARNATION] if isinstance(incarnation, str) else "",
            version=version[:MAX_INCARNATION] if isinstance(version, str) and version.isprintable() else "",
            unordered=unordered,
        )
    return command.result(told)


def _parse_colon(frame: bytes, problem: CodecError | None) -> Event:
    event, *rest = frame.split(b":", 3)
    least = 2 if problem is None else 3  # the head of a long frame may end within the label
    if len(rest) < least or not _COLON_NAME.fullmatch(event):
        problem = problem or CodecError("colon-form", "not event:index:label:base64")
        return Malformed(problem.reason, problem.detail, frame)
    data: Any = b""
    if problem is None:
        try:
            data = _colon_data(rest[2])
        except IndexError:
            problem = CodecError("colon-form", "no data")
        except binascii.Error as exc:
            problem = CodecError("base64", str(exc))
        except CodecError as exc:
            problem = exc
    ids = rest[0].decode("latin-1") or None, rest[1].decode("latin-1") or None, None
    return _judged(frame, event.decode("utf-8", "surrogateescape"), ids, data, problem)


def _colon_data(field: bytes) -> Any:
    """A JSON object as a map, anything else as bytes."""
    data = binascii.a2b_base64(field, strict_mode=True)
    if data[:1] != b"{":
        return data
    try:
        return decode_json(data.decode())
    except (ValueError, RecursionError):
        return data  # it only looks like JSON


def _judged(
    frame: bytes, event: Any, ids: tuple[Any, Any, Any], data: Any, problem: CodecError | None
) -> Event:
    """What the fields of a frame amount to. A ``problem`` already found does not stop the ids
    from being read: a call may wait behind them."""
    name, found = "", None
    try:
        name = _event_name(event if isinstance(event, str) else None)
    except CodecError as exc:
        problem = problem or exc
    try:
        found = _ids(*ids)
    except CodecError as exc:
        problem = problem or exc
    if problem is not None:
        return Malformed(problem.reason, problem.detail, frame, name, found)
    if found is None:
        return Notice(name, data)
    return Suspended(name, *found, data)


_COLON_NAME = re.compile(rb'[^"{}\x00-\x1f]*')
"""Bytes that cannot stand in an event name say that it is no colon form, whatever follows."""
_USUAL_IDS: Final = frozenset(("tm_index", "tm_label", "seq"))


def _pop_ids(raw: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Take index, label and seq as they stand out of a JSON frame; ``None`` where there is none.

    Raises CodecError where they stand twice, in two forms: the one further on may be a caller's.
    """
    ids = raw.pop("tm_trans", None)
    if ids is None:
        ids = {key: raw.pop(key) for key in TOP_LEVEL_IDS if key in raw}
        if ids and "seq" in raw:
            ids["seq"] = raw.pop("seq")
    elif not raw.keys().isdisjoint(TOP_LEVEL_IDS):
        beside = next(key for key in TOP_LEVEL_IDS if key in raw)
        raise CodecError("twice", f"ids in tm_trans and in {beside}")
    if not isinstance(ids, dict):
        return ids, None, None  # refused, since there is no label
    if ids.keys() == _USUAL_IDS:
        return ids["tm_index"], ids["tm_label"], ids["seq"]
    if ("tm_index" in ids and "tr_index" in ids) or ("tm_label" in ids and "tr_label" in ids):
        raise CodecError("twice", "ids in tm_ and in tr_ members")
    index = ids.get("tm_index", ids.get("tr_index"))
    return index, ids.get("tm_label", ids.get("tr_label")), ids.get("seq")


def _ids(index: Any, label: Any, seq: Any) -> tuple[int, int, int | None] | None:
    """``None`` where nothing is suspended. Raises CodecError for anything that is no id."""
    if index is None and label is None:
        return None
    counted = None if seq is None else _number(seq, 1, "seq")
    return _number(index, 0, "tm index"), _number(label, 0, "tm label"), counted


def _number(value: Any, least: int, what: str) -> int:
    """A number of 32 bits, or the same in decimal digits."""
    if type(value) is int and least <= value <= MAX_TM_ID:
        return value
    number = value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        number = int(value)
    if type(number) is not int or not least <= number <= MAX_TM_ID:
        shown = repr(value)[:40] if isinstance(value, str | int | float) else type(value).__name__
        raise CodecError("ids", f"{shown} is no {what}")
    return number


@lru_cache(maxsize=1024, typed=True)
def _event_name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise CodecError("event-name", "no event name")
    if not value.isprintable() or len(value.encode()) > MAX_EVENT_NAME:
        raise CodecError("event-name", f"not printable or over {MAX_EVENT_NAME} bytes")
    return value

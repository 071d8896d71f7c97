"""EVAPI payloads: what Kamailio says, and what it is told. Pure.

In (told apart by the first byte)::

    colon   invite_request:37:1840980198:eyJydXJp...    name, tm index, tm label, base64 of the data
    JSON    {"event":...,"tm_trans":{"tm_index":37,"tm_label":1840980198,"seq":2},...}
    notice  either form without ids

Out: resumes, and beside them sync and status frames for a configuration that said hello.

Whatever one frame holds, `parse` returns and never raises: a frame that is not understood is
`Malformed`, with its ids where they could be read, since a call is suspended behind them.
"""

from __future__ import annotations

import binascii
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapter.errors import CodecError
from adapter.wire.netstring import MAX_OUT, Oversized

if TYPE_CHECKING:
    from adapter.transaction import Outcome, TransactionId

MAX_EVENT_NAME: Final = 120
"""Bytes of an event name: with the node it must fit an AMQP short string (255)."""
MAX_TM_ID: Final = 0xFFFFFFFF
"""tm keeps index and label as unsigned 32-bit integers."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """A transaction waits. ``seq`` is ``None`` where the frame does not count suspensions."""

    event: str
    index: int
    label: int
    seq: int | None
    data: Any


@dataclass(frozen=True, slots=True)
class Notice:
    """An event for which nothing is suspended."""

    event: str
    data: Any


@dataclass(frozen=True, slots=True)
class Hello:
    """The configuration knows receipts and the health gate."""

    receipts: bool
    gate: bool


@dataclass(frozen=True, slots=True)
class Synced:
    """Kamailio has read up to the sync frame of this token."""

    token: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """A frame not understood. ``ids`` (index, label, seq) where a transaction waits behind it."""

    reason: str
    detail: str
    frame: bytes
    event: str = ""
    ids: tuple[int, int, int | None] | None = None


Event = Suspended | Notice | Hello | Synced | Malformed


def parse(frame: bytes | Oversized) -> Event | None:
    """Read one payload. ``None``: a frame between adapters and configuration that is not for us."""
    if isinstance(frame, Oversized):
        return _salvaged(frame.head, "too-large", f"payload of {frame.length} bytes")
    try:
        if frame[:1] == b"{":
            return _parse_json(frame)
        return _parse_colon(frame)
    except CodecError as exc:
        return _salvaged(frame, exc.reason, exc.detail)


def _parse_json(frame: bytes) -> Event | None:
    try:
        raw: dict[str, Any] = _json_decode(frame.decode())
    except (ValueError, RecursionError) as exc:
        raise CodecError("not-json", f"{type(exc).__name__}: {exc}") from exc
    if "adapter" in raw:
        return _parse_adapter(raw["adapter"])
    event = _event_name(raw.pop("event", None))
    ids = raw.pop("tm_trans", None)
    if ids is None:
        ids = {key: raw.pop(key) for key in _TOP_LEVEL_IDS if key in raw}
        if ids and "seq" in raw:
            ids["seq"] = raw.pop("seq")
    if not isinstance(ids, dict):
        raise CodecError("ids", "tm_trans is no object")
    data = raw.get("data")
    if not isinstance(data, dict):
        data = raw
    index = ids.get("tm_index", ids.get("tr_index"))
    label = ids.get("tm_label", ids.get("tr_label"))
    if index is None and label is None:
        return Notice(event, data)
    seq = ids.get("seq")
    return Suspended(event, _tm_id(index), _tm_id(label), None if seq is None else _seq(seq), data)


_TOP_LEVEL_IDS: Final = ("tm_index", "tm_label", "tr_index", "tr_label")


def _parse_adapter(told: Any) -> Event | None:
    if not isinstance(told, dict):
        raise CodecError("adapter-frame", "adapter is no object")
    if isinstance(told.get("synced"), str):
        return Synced(told["synced"])
    if "hello" in told:
        return Hello(receipts=told.get("receipts") is True, gate=told.get("gate") is True)
    return None


def _parse_colon(frame: bytes) -> Event:
    parts = frame.split(b":", 3)
    if len(parts) != 4:
        raise CodecError("colon-form", f"{len(parts)} fields, not 4")
    event = _event_name(parts[0].decode("utf-8", "replace"))
    try:
        data: Any = binascii.a2b_base64(parts[3], strict_mode=True)
    except binascii.Error as exc:
        raise CodecError("base64", str(exc)) from exc
    if data[:1] == b"{":
        try:
            data = _json_decode(data.decode())
        except (ValueError, RecursionError):
            pass  # not a JSON object: delivered as bytes
    if not parts[1] and not parts[2]:
        return Notice(event, data)
    return Suspended(event, _tm_id(parts[1].decode("latin-1")), _tm_id(parts[2].decode("latin-1")), None, data)


def _not_in_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_json_decode = json.JSONDecoder(parse_constant=_not_in_json).decode


def _event_name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise CodecError("event-name", "no event name")
    if len(value.encode("utf-8", "replace")) > MAX_EVENT_NAME or not value.isprintable():
        raise CodecError("event-name", f"not printable or over {MAX_EVENT_NAME} bytes")
    return value


def _number(value: Any) -> int:
    """A number, or the same in decimal digits; -1 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        return int(value)
    return value if type(value) is int else -1


def _tm_id(value: Any) -> int:
    number = _number(value)
    if not 0 <= number <= MAX_TM_ID:
        raise CodecError("ids", f"{str(value)[:40]!r} is no tm index or label")
    return number


def _seq(value: Any) -> int:
    number = _number(value)
    if not 1 <= number <= MAX_TM_ID:
        raise CodecError("ids", f"{str(value)[:40]!r} is no seq")
    return number


_COLON_IDS = re.compile(rb"([^:{}\x00-\x1f]{1,120}):(\d{1,10}):(\d{1,10})(?::|$)")
_JSON_NAME = re.compile(rb'^\{\s*"event"\s*:\s*"([A-Za-z0-9_.-]{1,120})"')
_JSON_IDS = {
    key: re.compile(rb'"(?:%s)"\s*:\s*"?(\d{1,10})\b' % names)
    for key, names in {"index": rb"tm_index|tr_index", "label": rb"tm_label|tr_label", "seq": rb"seq"}.items()
}


def _salvaged(frame: bytes, reason: str, detail: str) -> Malformed:
    """Read the ids out of a frame that is otherwise not understood.

    Only where they are unambiguous: in the colon form by their place, in broken JSON where
    each key stands exactly once. What a caller wrote into a SIP header must not pick a victim.
    """
    if frame[:1] != b"{":
        colon = _COLON_IDS.match(frame)
        if colon is None:
            return Malformed(reason, detail, frame)
        event, index, label, seqs = colon[1], [colon[2]], [colon[3]], []
    else:
        name = _JSON_NAME.match(frame)
        event = name[1] if name else b""
        index, label, seqs = (_JSON_IDS[key].findall(frame) for key in ("index", "label", "seq"))
    if len(index) != 1 or len(label) != 1 or len(seqs) > 1:
        return Malformed(reason, detail, frame, event.decode("utf-8", "replace"))
    ids = int(index[0]), int(label[0]), int(seqs[0]) if seqs else None
    if max(ids[0], ids[1]) > MAX_TM_ID or ids[2] == 0:
        return Malformed(reason, detail, frame, event.decode("utf-8", "replace"))
    return Malformed(reason, detail, frame, event.decode("utf-8", "replace"), ids)


def decision_json(decision: Any) -> bytes:
    """A decision as JSON text that Kamailio's parser (jansson) takes.

    Raises CodecError where there is none: bytes, dates, NaN, an integer over 64 bits, a lone
    surrogate, a NUL. jansson refuses the whole frame for any of the last three, and the call
    would wait for Kamailio's timer.
    """
    try:
        text = json.dumps(decision, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError) as exc:
        raise CodecError("not-json", f"{type(exc).__name__}: {exc}") from exc
    if b"\\u0000" in text or _LONG_NUMBER.search(text):
        _check_for_jansson(decision)
    return text


_LONG_NUMBER = re.compile(rb"\d{19}")


def _check_for_jansson(value: Any) -> None:
    if isinstance(value, str) and "\0" in value:
        raise CodecError("nul", "Kamailio takes no NUL in a string")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise CodecError("integer", "Kamailio takes no integer over 64 bits")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_for_jansson(str(key))
            _check_for_jansson(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_for_jansson(item)


def resume(id: TransactionId, event: str, outcome: Outcome, decision: bytes) -> bytes:  # noqa: A002
    """The payload that resumes one suspension. ``decision`` is JSON text.

    Ids are JSON numbers: as strings they make t_continue fail.
    """
    return b'{"tm_trans":{"tm_index":%d,"tm_label":%d,"seq":%d},"event":%b,"outcome":"%b","correlation_id":%b,"decision":%b}' % (
        id.index,
        id.label,
        id.seq,
        json.dumps(event).encode(),
        outcome.value.encode(),
        json.dumps(str(id)).encode(),
        decision,
    )


def fits(payload: bytes) -> bool:
    """Whether Kamailio reads a payload of this size."""
    return len(payload) <= MAX_OUT


def sync(token: str) -> bytes:
    """The payload that asks for a receipt."""
    return b'{"adapter":{"sync":"%b"}}' % token.encode()


def status(state: str, replica: str, node: str) -> bytes:
    """The payload of the health gate: ``ready``, ``degraded`` or ``draining``."""
    return json.dumps(
        {"adapter": {"status": state, "replica": replica, "node": node}}, separators=(",", ":")
    ).encode()

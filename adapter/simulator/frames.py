"""The frames that configurations emit, and JSON as Kamailio's parser takes it. Pure."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

VERSION: Final = "simulated"
"""In place of Kamailio's."""
Form = Literal["json", "colon", "cgrates"]
Data = Mapping[str, Any] | bytes
Ids = tuple[int, int, int | None]
"""Index, label, seq."""


def hello(incarnation: str) -> bytes:
    """What a configuration says to a new client."""
    told = {"hello": 1, "receipts": True, "gate": True, "life": incarnation, "version": VERSION}
    return _json({"adapter": told})


def suspended(form: Form, event: str, data: Data) -> Callable[[Ids], bytes]:
    """Makes the payloads of an event behind which a transaction waits; what they share is encoded once.

    Only the form ``json`` carries a seq. Raises TypeError for bytes in another form than ``colon``.
    """
    if form == "colon":
        name, encoded = event.encode(), base64.b64encode(_raw(data))
        return lambda ids: b"%b:%d:%d:%b" % (name, ids[0], ids[1], encoded)
    if form == "cgrates":
        told = _map(data)  # of which any key may replace one of these
        return lambda ids: _json({"event": event, "tr_index": str(ids[0]), "tr_label": str(ids[1]), **told})
    name, encoded = _json(event), _json(_map(data))

    def payload(ids: Ids) -> bytes:
        index, label, seq = ids
        counted = b"" if seq is None else b',"seq":%d' % seq
        return b'{"event":%b,"tm_trans":{"tm_index":%d,"tm_label":%d%b},"data":%b}' % (
            *(name, index, label, counted, encoded),
        )

    return payload


def notice(form: Form, event: str, data: Data) -> bytes:
    """The payload of an event for which nothing is suspended."""
    if form == "colon":
        return f"{event}:::".encode() + base64.b64encode(_raw(data))
    if form == "cgrates":
        return _json({"event": event, **_map(data)})
    return _json({"event": event, "data": _map(data)})


def result(command: str, name: str) -> bytes:
    """What became of a command: done, and there is no call any more."""
    outcome = "not_found" if name == "calls" else "done"
    return _json({"adapter": {"result": command, "outcome": outcome}})


def receipt(token: str, still_open: bool | None = None) -> bytes:
    """The answer to a sync frame; ``still_open`` where it named a suspension."""
    told: dict[str, Any] = {"synced": token}
    if still_open is not None:
        told["open"] = still_open
    return _json({"adapter": told})


def _raw(data: Data) -> bytes:
    return data if isinstance(data, bytes) else _json(data)


def _map(data: Data) -> dict[str, Any]:
    if isinstance(data, bytes):
        raise TypeError("bytes can be emitted in the colon form only")
    return dict(data)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def loads(payload: bytes) -> dict[str, Any]:
    """Parse as the jansson module does: a C string, duplicate keys refused.

    Raises ValueError for what it refuses: NaN, a real or an integer out of range, a NUL or a
    lone surrogate in a string. An array, in which it finds no key either, is an empty object.
    """
    text = payload.partition(b"\0")[0].decode()
    try:
        found = _decode(text)
    except RecursionError as exc:
        raise ValueError("too deep") from exc
    if not isinstance(found, dict | list):
        raise ValueError("neither object nor array")
    if "\\u" in text:
        for string in _strings(found):
            if "\0" in string:
                raise ValueError("NUL in a string")
            string.encode()  # a lone surrogate cannot be
    return found if isinstance(found, dict) else {}


def _strings(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            pending += item
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _integer(digits: str) -> int:
    value = int(digits)
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("integer over 64 bits")
    return value


def _real(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("real number overflow")
    return value


def _constant(name: str) -> Any:
    raise ValueError(name)


_decode = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant
).decode

"""EVAPI payloads: what Kamailio is told. Pure. What it says: see ``adapter.wire.event``.

Resumes, and beside them sync and status frames for a configuration that said hello. Commands: see
``adapter.wire.command``.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from adapter.bodies import MAX_DEPTH
from adapter.errors import CodecError
from adapter.model.transaction import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter.model.transaction import TransactionId


def _time_as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_decision_text: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_time_as_text
).encode


def decision_json(decision: Any) -> bytes:
    """A decision as JSON text that Kamailio's parser (jansson) takes. Times become ISO 8601 text.

    Raises CodecError where there is none: bytes, NaN, an integer over 64 bits, a lone
    surrogate, a NUL, a key that is no string (two of them may become one key), deep nesting.
    jansson refuses the whole frame for each of the last five, and the call would wait for
    Kamailio's timer.
    """
    try:
        text = _decision_text(decision).encode()
    except (ValueError, TypeError, RecursionError) as exc:
        raise CodecError("not-json", f"{type(exc).__name__}: {exc}") from exc
    _check_for_jansson(decision, text)
    return text


_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def _check_for_jansson(decision: Any, text: bytes) -> None:
    """``text``: the decision as JSON, where a NUL is always escaped: so no string need be looked at."""
    if b"\\u0000" in text and _NUL.search(text):
        raise CodecError("nul", "Kamailio takes no NUL in a string")
    level, depth = [[decision]], 1
    while level:
        below: list[Any] = []
        for container in level:
            if container and depth > MAX_DEPTH:
                raise CodecError("depth", f"more than {MAX_DEPTH} levels")
            items: Iterable[Any] = container
            if isinstance(container, dict):
                items = container.values()
                for key in container:
                    if not isinstance(key, str):
                        raise CodecError("key", f"a key is of type {type(key).__name__}")
            for item in items:
                if isinstance(item, str):
                    continue
                if isinstance(item, int):
                    if not -(1 << 63) <= item < 1 << 63:
                        raise CodecError("integer", "Kamailio takes no integer over 64 bits")
                elif isinstance(item, dict | list | tuple):
                    below.append(item)
        level, depth = below, depth + 1


def resume(
    id: TransactionId,  # noqa: A002
    event: str,
    outcome: Outcome,
    decision: bytes,
    traceparent: str = "",
    tag: bytes = b"",
    more: bytes = b"",
) -> bytes:
    """The payload that resumes one suspension. ``decision`` is JSON text; ``traceparent`` names the
    call's trace, for a SIP header, and is left out where it is empty. ``tag`` ends the correlation id.
    ``more``: members of the object in JSON, each after a comma.

    Ids are JSON numbers: as strings they make t_continue fail.
    """
    node, index, label, seq = id
    event_json, node_json = _quoted(event), _quoted(node)[:-1]
    if traceparent:
        decision += b',"traceparent":' + json.dumps(traceparent).encode()
    if more:
        decision += more
    return _RESUME % (
        *(index, label, seq, event_json, _OUTCOME_JSON[outcome]),
        *(node_json, index, label, seq, tag, decision),
    )


@lru_cache(maxsize=1024)
def _quoted(text: str) -> bytes:
    return json.dumps(text).encode()


_RESUME: Final = (
    b'{"tm_trans":{"tm_index":%d,"tm_label":%d,"seq":%d},"event":%b,"outcome":%b,'
    b'"correlation_id":%b:%d:%d:%d%b","decision":%b}'
)
_OUTCOME_JSON: Final = {outcome: json.dumps(outcome.value).encode() for outcome in Outcome}


def sync(token: str) -> bytes:
    """The payload that asks for a receipt."""
    return b'{"adapter":{"sync":"%b"}}' % token.encode()


def still_open(token: str, id: TransactionId) -> bytes:  # noqa: A002
    """The payload that asks for a receipt, and whether a suspension still waits for its answer."""
    return b'{"adapter":{"sync":"%b","asked":"%d:%d","seq":%d}}' % (
        token.encode(),
        id.index,
        id.label,
        id.seq,
    )


def status(state: str, replica: str, node: str) -> bytes:
    """The payload of the health gate: ``ready``, ``degraded`` or ``draining``."""
    return json.dumps(
        {"adapter": {"status": state, "replica": replica, "node": node}}, separators=(",", ":")
    ).encode()

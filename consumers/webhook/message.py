"""What is POSTed: a request as JSON, and its headers. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from adapter.contract import (
    APP_ID,
    HEADER_CORRELATION_ID,
    HEADER_DEADLINE,
    HEADER_NODE,
    HEADER_SERVICE,
    HEADER_TIME_LEFT,
    HEADER_TRACEPARENT,
    JSON,
    CodecError,
    encode_request,
)
from adapter.records import record

if TYPE_CHECKING:
    from adapter.contract import Request

HEADER_EVENT: Final = "x-event"
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


@record
class Call:
    """A request, and what is known of it beside.

    Of a notice ``correlation_id`` is None. ``traceparent`` is empty where nothing is traced.
    """

    request: Request
    correlation_id: str | None = None
    traceparent: str = ""


def body(call: Call, most: int) -> bytes:
    """Write the body: the request as the bus has it in JSON, and its ``correlation_id``.

    The deadline is in epoch milliseconds, bytes become ``{"base64": "..."}``. A notice has neither ids nor
    deadline.

    Args:
        call: What is asked.
        most: Bytes that it may have.

    Raises:
        ValueError: The data cannot be written as JSON, or are too many.
    """
    try:
        made = encode_request(call.request, as_json=True, most=most)
    except CodecError as exc:
        problem = (
            "has more bytes than max_request" if exc.reason == "too-large" else "cannot be written as JSON"
        )
        raise ValueError(f"the request {problem}") from exc
    if call.correlation_id is None:
        return made
    return b'{"correlation_id":%s,%s' % (json.dumps(call.correlation_id).encode(), made[1:])


def headers(call: Call, service: str) -> dict[str, str]:
    """The headers that every attempt has alike. What is not ASCII is escaped (``%C3%A9``)."""
    request = call.request
    made = {
        "content-type": JSON,
        "accept": JSON,
        "accept-encoding": "identity",
        "user-agent": APP_ID,
        HEADER_EVENT: _escaped(request.event),
        HEADER_NODE: _escaped(request.node),
        HEADER_SERVICE: service,
    }
    if call.correlation_id is not None:
        made[HEADER_CORRELATION_ID] = _escaped(call.correlation_id)
    if request.deadline is not None:
        made[HEADER_DEADLINE] = str(round(request.deadline * 1000))
    if call.traceparent:
        made[HEADER_TRACEPARENT] = _escaped(call.traceparent)
    return made


def time_left(seconds: float) -> dict[str, str]:
    """The header that each attempt has anew: milliseconds until the deadline."""
    return {HEADER_TIME_LEFT: str(max(0, int(seconds * 1000)))}


def _escaped(text: str) -> str:
    return quote(text, safe=_PLAIN, errors="replace")

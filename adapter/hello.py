"""What an instance of a service says of itself: the message ``hello``, read and written. Pure.

Each instance says it on ``evapi.services``, every few seconds, at its start and end, and when somebody asks
there who is there. Nobody keeps it: who wants to know listens, and asks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from adapter import bodies, contract
from adapter.errors import CodecError
from adapter.records import record

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BODY: Final = 16_000
"""Bytes of a hello that is read."""
MAX_EVENTS: Final = 100
"""Events that a hello names; the rest is left out."""
MAX_TEXT: Final = 200
"""Characters of each of its texts."""
EACH: Final = 10.0
"""Seconds between two hellos that nobody asked for."""
HERE: Final = "here"
LEAVES: Final = "leaves"


@record
class Hello:
    """What an instance says. Times are seconds, all by its own clock and none a time of day.

    ``version`` is the service's own, ``sdk`` what says hello. ``uptime``: since it began. ``requests`` are
    those that it is done with since then, ``decided`` and ``failed`` two parts of them. ``per_decision``: of
    the last replies, from the request's arrival to the reply, on average; None while there is none.
    ``error``: what its handlers raised last, and ``error_age`` how long ago; None if they have not.
    ``leaves``: it stops, and says no more.
    """

    service: str
    instance: str
    host: str = ""
    version: str = ""
    sdk: str = ""
    events: tuple[str, ...] = ()
    uptime: float = 0.0
    requests: int = 0
    decided: int = 0
    failed: int = 0
    prefetch: int = 0
    concurrency: int | None = None
    per_decision: float | None = None
    error: str | None = None
    error_age: float | None = None
    leaves: bool = False

    @property
    def key(self) -> str:
        """The routing key under which it is said."""
        return contract.hello_key(self.service, self.instance)


def encode(hello: Hello) -> bytes:
    """Write the body: JSON of at most ``MAX_BODY`` bytes, times in whole milli- or microseconds."""
    body: dict[str, Any] = {
        "service": hello.service,
        "instance": hello.instance,
        "host": hello.host[:MAX_TEXT],
        "version": hello.version[:MAX_TEXT],
        "sdk": hello.sdk[:MAX_TEXT],
        "state": LEAVES if hello.leaves else HERE,
        "events": [event[:MAX_TEXT] for event in hello.events[:MAX_EVENTS]],
        "uptime": round(hello.uptime * 1e3),
        "requests": hello.requests,
        "decided": hello.decided,
        "failed": hello.failed,
        "prefetch": hello.prefetch,
    }
    if hello.concurrency is not None:
        body["concurrency"] = hello.concurrency
    if hello.per_decision is not None:
        body["per_decision"] = round(hello.per_decision * 1e6)
    if hello.error is not None:
        body["error"] = hello.error[:MAX_TEXT]
        body["error_age"] = round((hello.error_age or 0.0) * 1e3)
    packed = _json(body)
    while len(packed) > MAX_BODY and body["events"]:  # letters may be of four bytes each
        body["events"] = body["events"][: len(body["events"]) // 2]
        packed = _json(body)
    return packed


def decode(key: str, body: bytes) -> Hello:
    """Read a hello.

    Args:
        key: its routing key, by which alone it is known whose it is: RabbitMQ lets a service's user say hello
            in its own name only, if a topic permission says so.
        body: of the message. Keys that are not known are ignored, and so are values of another type.

    Raises:
        CodecError: it is none.
    """
    words = key.split(".")
    if len(words) != 3 or words[0] != contract.HELLO or not all(words):
        raise CodecError("not-a-hello", f"routing key {key!r:.100}")
    if len(body) > MAX_BODY:
        raise CodecError("too-large", f"a hello of {len(body)} bytes, at most {MAX_BODY} are read")
    raw = bodies.decode(body)
    error = _text(raw, "error")
    return Hello(
        service=words[1],
        instance=words[2],
        host=_text(raw, "host") or "",
        version=_text(raw, "version") or "",
        sdk=_text(raw, "sdk") or "",
        events=_events(raw.get("events")),
        uptime=(_count(raw, "uptime") or 0) / 1e3,
        requests=_count(raw, "requests") or 0,
        decided=_count(raw, "decided") or 0,
        failed=_count(raw, "failed") or 0,
        prefetch=_count(raw, "prefetch") or 0,
        concurrency=_count(raw, "concurrency"),
        per_decision=_seconds(_count(raw, "per_decision"), 1e6),
        error=error,
        error_age=None if error is None else _seconds(_count(raw, "error_age"), 1e3),
        leaves=raw.get("state") == LEAVES,
    )


def _text(raw: Mapping[str, Any], name: str) -> str | None:
    found = raw.get(name)
    return found[:MAX_TEXT] if isinstance(found, str) else None


def _count(raw: Mapping[str, Any], name: str) -> int | None:
    found = raw.get(name)
    return found if type(found) is int and 0 <= found < 1 << 53 else None


def _events(value: object) -> tuple[str, ...]:
    named = value if isinstance(value, list) else []
    return tuple(each[:MAX_TEXT] for each in named[:MAX_EVENTS] if isinstance(each, str))


def _seconds(value: int | None, parts: float) -> float | None:
    return None if value is None else value / parts


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")

"""The dead letters: what they are, and what can be done with them.

There are two sorts. RabbitMQ keeps what a service rejected, or what overflowed on its queue: requests and
notices, as they were published, with the header ``x-death``; not what expired there. Adapters keep what they
could not understand, with ``x-reason``: frames of Kamailio's, replies, commands. Only the first can be
published again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import math
import re
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from pamqp.commands import Basic

from adapter import contract
from adapter.admin import dead_batches
from adapter.admin.masking import MASK, is_secret, masked
from adapter.errors import BrokerUnavailable, CodecError
from adapter.model.correlation import parts
from adapter.relay.translate import call_id_of
from adapter.wire import event as wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from adapter.admin.rabbit import Browse, Message, Rabbit
    from adapter.model.transaction import TransactionId

_SERVICE: Final = contract.service_queue("")
_DEATHS: Final = ("x-death", "x-first-death-", "x-last-death-")  # headers that RabbitMQ adds begin so
_COLON: Final = re.compile(rb"([^:]{0,120}:\d{0,10}:\d{0,10}:)(.*)", re.DOTALL)
_BROKEN_OFF: Final = re.compile(r'("([^"\s]{1,60})"\s*:\s*)"[^"]*\Z')


class Kind(StrEnum):
    """What a letter is."""

    REQUEST = "request"
    NOTICE = "notice"
    REPLY = "reply"
    FRAME = "frame"  # of Kamailio's, not understood
    COMMAND = "command"  # to Kamailio, not sent
    OTHER = "other"  # died on a queue, and is no request of ours


class Fate(StrEnum):
    """What becomes of a letter that is to be replayed."""

    REPLAYED = "replayed"
    LATE = "late"  # its deadline has passed: left
    UNROUTABLE = "unroutable"  # no queue is bound for it: left
    IMPOSSIBLE = "impossible"  # no request or notice: left
    BEYOND = "beyond"  # the limit: left


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. ``number`` counts from 1, the oldest, among those that are there now.

    ``at``: when it died, ``deadline``: until when an answer was waited for; epoch seconds.
    """

    number: int
    message: Message
    kind: Kind
    at: float | None
    reason: str
    detail: str
    event: str
    node: str
    service: str
    call_id: str
    deadline: float | None

    @property
    def correlation_id(self) -> str:
        """As the message has it."""
        return self.message.properties.correlation_id or ""

    @property
    def message_id(self) -> str:
        """As the message has it."""
        return self.message.properties.message_id or ""

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from others, also when it is read again."""
        return self.message_id, self.correlation_id, self.at, self.reason, len(self.message.body)

    def fate(self, now: float, even_late: bool) -> Fate:
        """Whether it can be replayed."""
        if self.kind not in (Kind.REQUEST, Kind.NOTICE):
            return Fate.IMPOSSIBLE
        late = self.kind is Kind.REQUEST and (self.deadline is None or self.deadline <= now)
        return Fate.LATE if late and not even_late else Fate.REPLAYED


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; empty: any. ``since``: epoch seconds, from which on they died."""

    reason: str = ""
    event: str = ""
    node: str = ""
    since: float = -math.inf

    def takes(self, letter: Letter) -> bool:
        """Whether it is one of them. One that does not say when it died is old."""
        if (-math.inf if letter.at is None else letter.at) < self.since:
            return False
        wanted = ((self.reason, letter.reason), (self.event, letter.event), (self.node, letter.node))
        return all(want in ("", have) for want, have in wanted)


class DeadLetters:
    """The letters of now, held while this is open: nobody else sees them meanwhile, and none is lost.

    What was not removed is back in its place afterwards, marked as redelivered. Of a message of several
    requests what is left is there as messages of their own, at the end, if some were removed.
    """

    def __init__(self, rabbit: Rabbit, browse: Browse, letters: Sequence[Letter]) -> None:
        self.letters = letters
        self._rabbit = rabbit
        self._browse = browse
        self._of: dict[int, set[int]] = {}  # by message, the letters in it that are not removed
        for letter in letters:
            self._of.setdefault(letter.message.tag, set()).add(letter.number)

    async def replay(self, letter: Letter, now: float) -> Fate:
        """Publish a request or notice again, and remove it once a queue has it. Raises BrokerUnavailable.

        Whoever is killed between the two leaves it to be replayed twice.
        """
        message, (exchange, key) = letter.message, _address(letter)
        properties = again(letter, now)
        properties.user_id = await self._rabbit.user() or None
        if not await self._rabbit.publish(exchange, key, message.body, properties):
            return Fate.UNROUTABLE
        await self.remove([letter])
        return Fate.REPLAYED

    async def remove(self, letters: Iterable[Letter]) -> None:
        """Delete them for good. Raises BrokerUnavailable."""
        whole = []
        for letter in letters:
            left = self._of[letter.message.tag]
            left.discard(letter.number)
            if not left:
                whole.append(letter.message)
        await self._browse.remove(whole)

    async def close(self) -> None:
        """Publish what is left of messages of which some letters were removed. Raises BrokerUnavailable."""
        parted = {
            letter.message.tag for letter in self.letters if letter.number not in self._of[letter.message.tag]
        }
        for letter in self.letters:
            message = letter.message
            if message.tag in parted and letter.number in self._of[message.tag]:
                if not await self._rabbit.publish("", contract.DEAD_QUEUE, message.body, message.properties):
                    raise BrokerUnavailable(f"{contract.DEAD_QUEUE} takes nothing: the removed may be back")
                await self.remove([letter])


@contextlib.asynccontextmanager
async def opened(rabbit: Rabbit) -> AsyncIterator[DeadLetters]:
    """Hold what is there; nothing where there is no queue. Raises BrokerUnavailable."""
    async with rabbit.browse(contract.DEAD_QUEUE) as browse:
        messages = await browse.everything()
        parts = [part for each in messages for part in dead_batches.parts(each)]
        found = DeadLetters(rabbit, browse, [read(number, each) for number, each in enumerate(parts, 1)])
        try:
            yield found
        finally:
            await found.close()


class Pace:
    """So many a second at most; None: as fast as it goes."""

    def __init__(self, rate: float | None) -> None:
        self._apart = 0.0 if rate is None else 1 / rate
        self._next = 0.0

    async def role(self) -> None:
        """Wait for the next one's turn."""
        loop = asyncio.get_running_loop()
        wait = self._next - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        self._next = max(loop.time(), self._next) + self._apart


def read(number: int, message: Message) -> Letter:
    """What a message on the queue is."""
    headers = message.headers
    death = _death(headers)
    return _kept(number, message) if death is None else _died(number, message, death)


def _died(number: int, message: Message, death: Mapping[str, Any]) -> Letter:
    """Given up by RabbitMQ: where and why is in the newest entry of ``x-death``."""
    properties, headers = message.properties, message.headers
    kind, request = Kind.OTHER, None
    with contextlib.suppress(CodecError):
        request = contract.decode_request(message.body)
        kind = Kind.NOTICE if request.is_notice else Kind.REQUEST
    deadline = headers.get(contract.HEADER_DEADLINE)
    until = deadline / 1000 if isinstance(deadline, int) else None
    times, queue = death.get("count"), _text(death.get("queue"))
    event, _, node = message.routing_key.partition(".")
    return Letter(
        number,
        message,
        kind,
        _epoch(death.get("time")),
        _text(death.get("reason")),
        f"{times} times" if isinstance(times, int) and times > 1 else "",
        properties.message_type or (event if request is None else request.event),
        _text(headers.get(contract.HEADER_NODE)) or (node if request is None else request.node),
        queue.removeprefix(_SERVICE),
        call_id_of(None if request is None else request.data),
        until if request is None or request.deadline is None else request.deadline,
    )


def _kept(number: int, message: Message) -> Letter:
    """Kept by an adapter: why is in headers of ours."""
    properties, headers = message.properties, message.headers
    kind, event = _kind_of_kept(message), ""
    if kind is Kind.FRAME:
        found = wire.parse(message.body)
        event = found.event if isinstance(found, wire.Malformed | wire.Suspended | wire.Notice) else ""
    return Letter(
        number,
        message,
        kind,
        _epoch(properties.timestamp),
        _text(headers.get(contract.HEADER_REASON)),
        _text(headers.get(contract.HEADER_DETAIL)),
        event,
        _text(headers.get(contract.HEADER_NODE)),
        "",
        "",
        None,
    )


def _kind_of_kept(message: Message) -> Kind:
    """Adapters do not say. A frame has neither correlation id nor content type, a reply has the first."""
    if contract.HEADER_REASON not in message.headers:
        return Kind.OTHER
    properties = message.properties
    if properties.correlation_id or message.headers[contract.HEADER_REASON] == "no-correlation-id":
        return Kind.REPLY
    plain = properties.content_type in (None, "application/octet-stream")
    return Kind.FRAME if plain else Kind.COMMAND


def again(letter: Letter, now: float) -> Basic.Properties:
    """The properties to publish it with once more: as they were before it died.

    It expires with its deadline; one that is late gets the time it had at first, for whoever is to see it.
    """
    given = letter.message.properties
    kept = {name: getattr(given, name) for name in given.__slots__ if name not in ("user_id", "cluster_id")}
    found = Basic.Properties(**kept)
    found.headers = {
        name: value
        for name, value in letter.message.headers.items()
        if not name.startswith(_DEATHS) and name != contract.HEADER_TIME_LEFT
    }
    if letter.kind is Kind.REQUEST:
        left = None if letter.deadline is None else round((letter.deadline - now) * 1000)
        first = (_death(letter.message.headers) or {}).get("original-expiration")
        found.expiration = str(left) if left is not None and left > 0 else _text(first) or None
    return found


def _address(letter: Letter) -> tuple[str, str]:
    """Exchange and routing key, as before it died. A batch, or what is left of it, came by another key."""
    death, key = _death(letter.message.headers) or {}, letter.message.routing_key
    if death.get("exchange") == "" and (queue := _text(death.get("queue"))).startswith(_SERVICE):
        return "", queue  # it was one service's alone
    return contract.EVENTS_EXCHANGE, key or contract.routing_key(letter.event, letter.node)


def find(letters: Sequence[Letter], which: str) -> Letter | None:
    """By its number, or the newest with that correlation id (with or without tag), message id or Call-ID."""
    if which.isdecimal():
        return next((letter for letter in letters if letter.number == int(which)), None)
    plain = _identity(which)
    wanted = (
        letter
        for letter in reversed(letters)
        if which in (letter.correlation_id, letter.message_id, letter.call_id)
        or (plain is not None and plain == _identity(letter.correlation_id))
    )
    return next(wanted, None)


def _identity(correlation_id: str) -> TransactionId | None:
    try:
        return parts(correlation_id)[0]
    except ValueError:
        return None


def properties(letter: Letter) -> dict[str, Any]:
    """Those that the message has, for people; the headers are apart."""
    message = letter.message
    found: dict[str, Any] = {"exchange": message.exchange, "routing_key": message.routing_key}
    for name in message.properties.__slots__:
        value = getattr(message.properties, name)
        if name != "headers" and value not in (None, ""):
            found["type" if name == "message_type" else name] = _plain(value)
    return found


def headers(letter: Letter) -> Any:
    """The message's headers, for people: secrets are masked."""
    return masked(_plain(dict(letter.message.headers)))


def body(letter: Letter) -> Any:
    """The body as people read it: a map where it can be decoded, else text. Secrets are masked."""
    raw = letter.message.body
    found: Any = None
    if letter.kind in (Kind.REQUEST, Kind.NOTICE):
        request = contract.decode_request(raw)
        found = {field.name: getattr(request, field.name) for field in fields(request)}
    else:
        with contextlib.suppress(CodecError):  # it is shown as text then
            found = contract.decode_reply(raw)
    return masked(found or _json(raw) or _colon(raw) or _text_of(raw))


def _json(raw: bytes) -> Any:
    with contextlib.suppress(ValueError, RecursionError):  # it is no JSON then, and shown as text
        found = json.loads(raw)
        return found if isinstance(found, dict) else None


def _colon(raw: bytes) -> Any:
    """A frame in colon form: its data are base64, in which no secret would be seen."""
    parts = _COLON.fullmatch(raw)
    if parts is None:
        return None
    head, data = parts[1].decode("utf-8", "backslashreplace"), parts[2]
    try:
        plain = base64.b64decode(data, validate=True)
    except binascii.Error:
        return {"frame": head, "data": f"({len(data)} bytes that are no base64; --raw shows them)"}
    return {"frame": head, "data": _json(plain) or _text_of(plain)}


def _text_of(raw: bytes) -> str:
    """What could not be decoded often breaks off: within a secret's value, it may be."""
    text = raw.decode("utf-8", "backslashreplace")
    last = _BROKEN_OFF.search(text)
    return text if last is None or not is_secret(last[2]) else f"{text[: last.start()]}{last[1]}{MASK}"


def _plain(value: Any) -> Any:
    """A header's value as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return _text(value) if isinstance(value, bytes | bytearray) else value


def _death(headers: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The newest entry of ``x-death``; ``None`` where the message has none."""
    deaths = headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    return last if isinstance(last, dict) else None


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    return "" if value is None else str(value)


def _epoch(value: Any) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else None

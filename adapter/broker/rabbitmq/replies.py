"""What a message on a node's results queue tells the relay. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from adapter import batches, contract
from adapter.broker.headers import count
from adapter.broker.rabbitmq.delivery import LOOKUP, Properties
from adapter.errors import CodecError
from adapter.ports.broker import DeadLetter, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.broker.rabbitmq.delivery import Delivery

WRONG_EXCHANGE: Final = "wrong-exchange"
"""Why a message is kept that came another way than the one that needs the right to send it. Whoever may
reply can write to every queue, by its name; by which exchange it came the server says, and nobody can
forge that."""
_EXPIRED: Final = "expired"
_DECIDES: Final = contract.service_queue("")
_HANDLES: Final = contract.handles_queues("")[:-1]
_MAX_TEXT: Final = 200
_MAX_ID: Final = 1024  # bytes; more than a node's name, three numbers and a tag have
_PLAIN: Final = frozenset({contract.HEADER_BATCH, contract.HEADER_SERVICE})
"""Headers of a message of replies that say nothing of any of them but whose it is."""
_LATEST: Final = 1 << 53  # microseconds: what a float holds exactly, and the year 2255


def read_replies(delivery: Delivery, node: str) -> list[Reply | DeadLetter | None]:
    """What a message says, which may hold several replies, or several requests that died: see ``batches``."""
    if contract.HEADER_BATCH not in delivery.properties.headers or not batches.is_one(delivery.body):
        return [read_reply(delivery, node)]
    read = {"": _several, contract.DEAD_EXCHANGE: _several_given_up}.get(delivery.exchange)
    return [read_reply(delivery, node)] if read is None else read(delivery, node)


def read_reply(delivery: Delivery, node: str) -> Reply | DeadLetter | None:
    """A reply, what is kept of one that answers nothing, or ``None`` where nobody need know."""
    content_type, headers, correlation_id, times = delivery.properties
    if delivery.exchange == contract.DEAD_EXCHANGE:
        return _given_up(delivery, node)
    if not correlation_id:
        correlation_id = _text(headers.get(contract.HEADER_CORRELATION_ID), _MAX_ID)
    if not correlation_id:
        if content_type == LOOKUP:
            return None
        return letter(delivery, node, "no-correlation-id", "a reply carries that of its request")
    status, detail = headers.get(contract.HEADER_STATUS), headers.get(contract.HEADER_DETAIL)
    if status is not None:
        status = _text(status)
    by_operator = delivery.exchange == contract.OPERATOR_EXCHANGE
    if status == contract.STATUS_OPERATOR and not by_operator:
        why = f"an operator's answer comes by the exchange {contract.OPERATOR_EXCHANGE}"
        return letter(delivery, node, WRONG_EXCHANGE, why)
    extend, cache = headers.get(contract.HEADER_EXTEND), headers.get(contract.HEADER_CACHE)
    return Reply(
        correlation_id,
        delivery.body,
        content_type,
        status,
        _text(headers.get(contract.HEADER_SERVICE)),
        None,
        *_seconds(times),
        None if detail is None else _text(detail),
        by_operator,
        delivery.size,
        0 if extend is None else count(extend),
        0 if cache is None else count(cache),
    )


def _several(delivery: Delivery, node: str) -> list[Reply | DeadLetter | None]:
    """Replies in one message. What one of them does not say for itself the message says for all."""
    content_type, shared, _, times = delivery.properties
    if delivery.size:
        most = contract.MAX_REPLY
        why = f"replies of {delivery.size} bytes in one message, at most {most}"
        return [letter(delivery, node, "oversized", why)]
    try:
        found, wrong = batches.replied(delivery.body)
    except CodecError as exc:
        return [letter(delivery, node, exc.reason, exc.detail)]
    replies: list[Reply | DeadLetter | None] = []
    service, seconds = _text(shared.get(contract.HEADER_SERVICE)), _seconds(times)
    plain = shared.keys() <= _PLAIN
    for id_, headers, body in found:
        if headers is None and plain:
            replies.append(Reply(id_, body, content_type, None, service, None, *seconds))
        else:
            told = Properties.told(content_type, {**shared, **(headers or {})}, id_)
            told = told._replace(times=told.times or times)
            replies.append(read_reply(delivery._replace(properties=told, body=body, size=0), node))
    if wrong:
        replies.append(letter(delivery, node, "not-a-batch", wrong))
    return replies


def _several_given_up(delivery: Delivery, node: str) -> list[Reply | DeadLetter | None]:
    """Requests that died in one message: each of them did."""
    properties = delivery.properties
    try:
        found = [
            delivery._replace(
                properties=properties._replace(correlation_id=each.correlation_id),
                body=batches.alone(each.request),
            )
            for each in batches.asked(delivery.body)
        ]
    except CodecError:
        return [None]  # it is none of ours, or too long to have been one
    return [_given_up(each, node) for each in found]


def letter(delivery: Delivery, node: str, why: str, detail: str) -> DeadLetter:
    """A message as a dead letter."""
    content_type, _, correlation_id, *_ = delivery.properties
    return DeadLetter(why, detail, delivery.body, node, correlation_id, content_type)


def _given_up(delivery: Delivery, node: str) -> Reply | None:
    """A dead request, told apart by its exchange: the header ``x-death`` may be copied to a reply.

    That of a node whose routing word is the same comes here, too. One that expired with its deadline has
    been answered by that; one that was to be taken before it says so.
    """
    content_type, headers, correlation_id, *_ = delivery.properties
    death, queue = _last_death(headers)
    untold = death == _EXPIRED and contract.HEADER_UNTAKEN not in headers
    ours = headers.get(contract.HEADER_NODE) == node
    if death is None or untold or not ours or not correlation_id:
        return None
    return Reply(correlation_id, delivery.body, content_type, service=_service_of(queue), rejected=death)


def _last_death(headers: Mapping[str, Any]) -> tuple[str | None, str]:
    """Why the broker gave a message up the last time (it may have been retried before), on which queue."""
    deaths = headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    if not isinstance(last, dict):
        last = {}
    why = _text(last.get("reason")) or _text(headers.get(contract.FIRST_DEATH))
    queue = _text(last.get("queue"), _MAX_ID) or _text(headers.get("x-first-death-queue"), _MAX_ID)
    return why, queue or ""


def _service_of(queue: str) -> str | None:
    """The service that takes its requests from a queue; None for one of another kind."""
    if queue.startswith(_DECIDES):
        return queue.removeprefix(_DECIDES) or None
    if queue.startswith(_HANDLES):  # an event may have dots, the name of a service has none
        return queue.removeprefix(_HANDLES).partition(".")[0] or None
    return None


def _seconds(times: tuple[int, int] | None) -> tuple[float | None, float | None]:
    """What a consumer says of its times, in epoch seconds; nothing where that is none."""
    if times is None or not (0 < times[0] < _LATEST and 0 < times[1] < _LATEST):
        return None, None
    return times[0] / 1e6, times[1] / 1e6


def _text(value: Any, most: int = _MAX_TEXT) -> str | None:
    """A header as text, whatever type a consumer gave it, and no longer than a log line bears."""
    if value is None or isinstance(value, str):
        return None if value is None else value[:most]
    if isinstance(value, bytes | bytearray):
        return bytes(value[:most]).decode(errors="replace")
    return str(value)[:most]

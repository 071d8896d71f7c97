"""What crosses the bus: names, headers, bodies. Shared by the adapter and every Python consumer.

Depends on msgpack alone. Consumers in other languages find the same in README.md, "The bus".
Times are epoch seconds (float) in these classes and epoch milliseconds (int) in the bodies.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, Final

import msgpack

from adapter import bodies
from adapter.bodies import MAX_BODY as MAX_BODY
from adapter.errors import CodecError as CodecError
from adapter.errors import VersionError as VersionError
from adapter.records import record

EVENTS_EXCHANGE: Final = "evapi.events"
COMMANDS_EXCHANGE: Final = "evapi.commands"
OPERATOR_EXCHANGE: Final = "evapi.operator"
TOPIC_EXCHANGE: Final = "amq.topic"
"""RabbitMQ's own, from which MQTT clients subscribe and to which they publish."""
"""Takes answers by hand, with a node's name for routing key. Services need, and should have, no right to it:
an answer counts as an operator's only if the server says that it was published here."""
REPLICAS_EXCHANGE: Final = "evapi.replicas"
"""Takes the beats of the adapter's replicas, for each other alone."""
SERVICES_EXCHANGE: Final = "evapi.services"
"""On it instances of services say hello, and are asked who is there: see ``adapter.hello``."""
HELLO: Final = "hello"
"""The first word of the routing key of a hello."""
ASK: Final = "ask"
"""The routing key of the question who is there; its body is not looked at."""
DEAD_EXCHANGE: Final = "evapi.dead"
DEAD_BY_NODE_EXCHANGE: Final = "evapi.dead.by-node"
"""Takes all that ``evapi.dead`` takes: by it an adapter learns that a request of its node died."""
DEAD_KEPT_EXCHANGE: Final = "evapi.dead.kept"
"""Lets through to the dead letters what is to be looked at. What merely expired is not: nobody took it."""
DEAD_QUEUE: Final = "evapi.dead-letters"
DEAD_QUEUE_ARGUMENTS: Final[Mapping[str, str | int]] = MappingProxyType(
    {
        "x-max-length": 10_000,
        "x-max-length-bytes": 64 << 20,
        "x-message-ttl": 3 * 86_400 * 1000,
        "x-overflow": "drop-head",
    }
)
"""Bounds of the dead letters: number, bytes, age in ms."""
ALL_NODES: Final = "all"

APP_ID: Final = "evapi-adapter"
VERSION: Final = 1
MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"
BASE64: Final = "base64"
"""The one key of a map that stands for bytes in JSON."""

HEADER_NODE: Final = "x-node"
HEADER_DEADLINE: Final = "x-deadline"
HEADER_TIME_LEFT: Final = "x-time-left"
"""Of a request: milliseconds until its deadline when it was published. Unlike ``x-deadline``, which is by
the adapters' clock, it says the same to a consumer whose clock is another."""
HEADER_UNTAKEN: Final = "x-untaken"
"""Of a request: 1 if its ``expiration`` is earlier than its deadline, and the adapter is to hear that nobody
took it by then."""
HEADER_BCC: Final = "BCC"
"""Of a request to the queue of one service: RabbitMQ takes it out, and gives the message these routing keys
beside its own (sender-selected distribution): by the key of its event the adapter hears of its death."""
HEADER_BATCH: Final = "x-batch"
"""How many requests, or replies, a message holds that holds several: see ``adapter.batches``."""
HEADER_DIRECT: Final = "x-direct"
"""Of a request that an instance of a service passes on to another: 1 if it came straight to the queue of the
service, so that nobody else gets it."""
HEADER_VERSION: Final = "x-version"
HEADER_REPLY_TOPIC: Final = "x-reply-to-topic"
"""Of which RabbitMQ makes MQTT 5's Response Topic (3.13 and later)."""
HEADER_CORRELATION_ID: Final = "x-correlation-id"
"""Of a reply: read if the property is missing. RabbitMQ 4 puts a binary correlation id of AMQP 1.0 there."""
HEADER_SERVICE: Final = "x-service"
HEADER_STATUS: Final = "x-status"
HEADER_RECEIVED: Final = "x-received"
HEADER_REPLIED: Final = "x-replied"
"""Of a reply: when the request came to the consumer, and when the reply left it; epoch microseconds."""
HEADER_TRACEPARENT: Final = "traceparent"
HEADER_REASON: Final = "x-reason"
FIRST_DEATH: Final = "x-first-death-reason"
"""Why RabbitMQ gave a message up the first time: rejected, expired, maxlen, delivery_limit."""
HEADER_DETAIL: Final = "x-detail"
HEADER_EXTEND: Final = "x-extend"
"""Of a reply whose ``x-status`` is ``extend``: milliseconds for which the deadline moves."""
HEADER_CACHE: Final = "x-cache"
"""Of a reply: seconds for which its decision holds for calls that are alike."""
STATUS_FAILED: Final = "failed"
STATUS_NONE: Final = "none"
"""The service has no say in the call; the body is empty. In answer to a request that came straight to its
queue, for nobody else gets that one. Who got it by ``evapi.events`` sends nothing: another decides."""
STATUS_EXTEND: Final = "extend"
"""The decision is still to come, and takes longer; the body is empty. Once for a request."""
STATUS_OPERATOR: Final = "operator"

MAX_REPLY: Final = 128_000
"""Bytes of a reply's body that the adapter looks at: four times what a resume holds, so that JSON with
white space and escapes is judged by what it says. A longer one is ``oversized`` unseen."""

MAX_NAME: Final = 255
"""Characters of an event's or a node's name: AMQP has no longer ones."""

Decision = Mapping[str, Any]
"""What a consumer answers: any map with string keys, by convention with an ``action``."""

_NOT_A_WORD = re.compile(r"[^A-Za-z0-9_-]")


def word(text: str) -> str:
    """One word of a routing key: characters outside ``[A-Za-z0-9_-]`` become ``_``."""
    return _NOT_A_WORD.sub("_", text)


def routing_key(event: str, node: str) -> str:
    """The key of an event on ``evapi.events``: ``<event>.<node>``."""
    return f"{word(event)}.{word(node)}"


def service_queue(service: str) -> str:
    """The queue on which the instances of a service compete."""
    return f"evapi.decide.{service}"


def handles_queue(service: str, event: str) -> str:
    """The queue on which those instances of a service that have a handler of ``event`` compete.

    An instance without such a handler passes a request on to it. The queue is there only while an
    instance consumes it, so an event that it does not exist for is one that the service has no use for.
    """
    name = f"{handles_queues(service)}{event}"
    if len(name.encode(errors="replace")) <= MAX_NAME:
        return name
    return f"{handles_queues(service)}{hashlib.sha256(event.encode(errors='replace')).hexdigest()}"


def handles_queues(service: str) -> str:
    """What the names of these queues of a service begin with."""
    return f"evapi.handles.{service}."


def hello_key(service: str, instance: str) -> str:
    """The routing key under which an instance of a service says hello."""
    return f"{HELLO}.{word(service)}.{word(instance)}"


def ask_key(service: str) -> str:
    """The routing key of the question who of a service is there. Each instance hears it, and ``ASK``."""
    return f"{ASK}.{word(service)}"


def asked_queue(service: str, instance: str) -> str:
    """The queue on which an instance hears that somebody asks who is there."""
    return f"evapi.asked.{service}.{word(instance)}"


def results_queue(node: str) -> str:
    """The ``reply_to`` of a node's requests."""
    return f"evapi.results.{node}"


def replica_queue(replica: str) -> str:
    """The queue on which one life of a replica hears all of them."""
    return f"evapi.replicas.{word(replica)}"


def commands_queue(node: str) -> str:
    """The queue of frames to be pushed to a node."""
    return f"evapi.commands.{node}"


@record
class Request:
    """An event as a consumer gets it.

    ``data`` is a map, or bytes where Kamailio sent no JSON object. Of a notice, for which
    nothing is suspended and nobody waits, the ids and the deadline are ``None``. ``decisions``: of services
    that were asked before this one, by their names, where the policy asks one after the other.
    ``raw_headers``: of the message that brought it; read ``headers``.
    """

    event: str
    node: str
    data: Any
    tm_index: int | None = None
    tm_label: int | None = None
    seq: int | None = None
    deadline: float | None = None
    decisions: Mapping[str, Decision] = field(default_factory=dict, hash=False)
    correlation_id: str | None = field(default=None, compare=False)
    raw_headers: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def headers(self) -> Mapping[str, Any]:
        """The message's headers, read only."""
        return MappingProxyType(self.raw_headers or {})

    @property
    def call_id(self) -> str | None:
        """The SIP Call-ID, if the event's data tell it as ``call_id``."""
        found = self.data.get("call_id") if type(self.data) is dict else None
        return found if type(found) is str else None

    @property
    def is_notice(self) -> bool:
        """Whether nobody waits for a decision."""
        return self.tm_index is None


_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def encode_request(request: Request, as_json: bool = False, most: int = MAX_BODY) -> bytes:
    """Write the body of a request.

    Args:
        request: what is asked.
        as_json: whether in JSON, where bytes become ``{"base64": "..."}``, rather than in msgpack.
        most: bytes that it may have.

    Raises:
        CodecError: the data cannot be written (in msgpack an integer over 64 bits; a lone surrogate,
            nesting too deep), or the body would pass ``most``.
    """
    deadline = request.deadline
    body: dict[str, Any]
    if request.tm_index is None:
        body = {"event": request.event, "node": request.node, "data": request.data}
    else:
        body = {
            "event": request.event,
            "node": request.node,
            "tm_index": request.tm_index,
            "tm_label": request.tm_label,
            "seq": request.seq,
            "deadline": None if deadline is None else round(deadline * 1000),
            "data": request.data,
        }
    if request.decisions:
        body["decisions"] = request.decisions
    try:
        packed: bytes = _json(body).encode() if as_json else _pack(body)
    except (ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise CodecError("unencodable", f"{type(exc).__name__}: {exc}") from exc
    if len(packed) > most:
        raise CodecError("too-large", f"body of {len(packed)} bytes, at most {most} allowed")
    return packed


def content_type(body: bytes) -> str:
    """The content type of a body that ``encode_request`` made."""
    return JSON if body.startswith(b"{") else MSGPACK


def decode_request(body: bytes, version: int = VERSION) -> Request:
    """Undo ``encode_request``, whatever format it chose; unknown keys are ignored.

    Raises VersionError for a higher major ``x-version``, CodecError for anything not a request.
    """
    if version > VERSION:
        raise VersionError("version", f"x-version {version}, this reader knows {VERSION}")
    return request_of(bodies.decode(body), body.startswith(b"{"))


def request_of(raw: Mapping[str, Any], as_json: bool = False) -> Request:
    """Read the map of a request, which was decoded from JSON or msgpack. Raises CodecError."""
    try:
        event, node = raw["event"], raw["node"]
        index, label, seq = raw.get("tm_index"), raw.get("tm_label"), raw.get("seq")
        deadline = raw.get("deadline")
    except KeyError as exc:
        raise CodecError("not-a-request", f"no {exc}") from exc
    kind = type(index)
    whole = kind is type(label) is type(seq) and (kind is int or index is None)
    if not (isinstance(event, str) and isinstance(node, str) and whole):
        raise CodecError("not-a-request", "event, node or ids of a wrong type")
    if len(event) > MAX_NAME or len(node) > MAX_NAME:
        raise CodecError("not-a-request", f"event or node of over {MAX_NAME} characters")
    if not (deadline is None or (type(deadline) in (int, float) and math.isfinite(deadline))):
        raise CodecError("not-a-request", "deadline is no number")
    seconds = None if deadline is None else deadline / 1000
    data = raw.get("data")
    if as_json and type(data) is dict and data.keys() == {BASE64}:
        data = _plain_bytes(data[BASE64])
    request = Request(event, node, data, index, label, seq, seconds)
    if "decisions" in raw:
        request.decisions = _maps(raw["decisions"])  # type: ignore[misc]  # most requests have none
    return request


def _maps(decisions: Any) -> dict[str, Decision]:
    """What the former services of a chain decided. Raises CodecError for anything but maps by name."""
    if type(decisions) is not dict or not all(
        type(name) is str and type(decision) is dict for name, decision in decisions.items()
    ):
        raise CodecError("not-a-request", "decisions is no map of maps")
    return decisions


def _bytes_as_json(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {BASE64: base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_json: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_bytes_as_json
).encode


def _plain_bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError) as exc:
        raise CodecError("not-a-request", f"data of bytes is no base64: {exc}") from exc


def encode_reply(decision: Decision) -> bytes:
    """The msgpack body of a reply. Raises CodecError where the decision cannot be packed."""
    try:
        packed: bytes = _pack(dict(decision))
    except (ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise CodecError("unencodable", f"{type(exc).__name__}: {exc}") from exc
    return packed


def decode_reply(body: bytes) -> dict[str, Any]:
    """Read the decision of a reply: see ``adapter.bodies.read``. Raises CodecError."""
    return bodies.read(body)[0]

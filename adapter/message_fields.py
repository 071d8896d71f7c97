"""The properties, headers and keys of every message that crosses the bus: one table. Pure.

Of it the contract's files are made (``make contract``), and messages of each kind are checked against it.
A new header: its name in ``adapter.contract``, a row here, and the module that writes it.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapter import command_contract, contract, hello

if TYPE_CHECKING:
    from collections.abc import Mapping

ADAPTER: Final = "adapter"
CONSUMER: Final = "consumer"


class Message(StrEnum):
    """A kind of message."""

    REQUEST = "request"
    NOTICE = "notice"
    REPLY = "reply"
    COMMAND = "command"
    COMMAND_REPLY = "command-reply"
    DEAD_LETTER = "dead-letter"
    HELLO = "hello"

    @property
    def written_by(self) -> str:
        """Who writes it: ``ADAPTER`` or ``CONSUMER``. The other one reads it."""
        return CONSUMER if self in (Message.REPLY, Message.COMMAND, Message.HELLO) else ADAPTER


class Place(StrEnum):
    """Where in a message a field stands."""

    PROPERTY = "property"  # of AMQP's own; the names are those of AMQP 0-9-1, with _ for -
    HEADER = "header"
    BODY = "body"


class Field(NamedTuple):
    """A property, a header, or a key of a body.

    ``type``: str, int, dict, or list; of bytes in a body see ``contract.encode_request``. ``always``: the
    messages that have it each time. ``sometimes``: those that may have it. ``rules``: what JSON Schema can
    say of its value, by keyword.
    """

    name: str
    type: type[str] | type[int] | type[dict[str, Any]] | type[list[Any]]
    meaning: str
    always: tuple[Message, ...] = ()
    sometimes: tuple[Message, ...] = ()
    rules: Mapping[str, Any] = MappingProxyType({})


def fields(message: Message, place: Place) -> list[Field]:
    """Return the fields that a message may have in a place, in the order of the table."""
    return [row for row in FIELDS[place] if message in (*row.always, *row.sometimes)]


_REQUEST: Final = (Message.REQUEST,)
_EVENT: Final = (Message.REQUEST, Message.NOTICE)
_REPLY: Final = (Message.REPLY,)
_DEAD: Final = (Message.DEAD_LETTER,)
_HELLO: Final = (Message.HELLO,)
_COMMAND: Final = (Message.COMMAND,)
_COMMAND_REPLY: Final = (Message.COMMAND_REPLY,)

_NAME: Final[Mapping[str, Any]] = {"maxLength": contract.MAX_NAME}
_COUNT: Final[Mapping[str, Any]] = {"minimum": 0, "maximum": (1 << 32) - 1}
_POSITIVE: Final[Mapping[str, Any]] = {"minimum": 1}
_ANY_COUNT: Final[Mapping[str, Any]] = {"minimum": 0}
_TEXT: Final[Mapping[str, Any]] = {"maxLength": 200}
_FORMATS: Final[Mapping[str, Any]] = {"enum": [contract.MSGPACK, contract.JSON]}

_PROPERTIES: Final = (
    Field(
        "content_type",
        str,
        "The body's format. A reader goes by the first byte alone.",
        (*_EVENT, *_COMMAND_REPLY),
        rules=_FORMATS,
    ),
    Field(
        "content_type",
        str,
        "Not needed: the body's first byte tells its format.",
        sometimes=(Message.REPLY, Message.COMMAND, Message.HELLO),
    ),
    Field("content_type", str, "What the writer said of it, or octets.", _DEAD),
    Field(
        "delivery_mode",
        int,
        "1: need not outlive the server. 2: is kept on its disk.",
        (*_EVENT, *_DEAD),
        (Message.REPLY, Message.COMMAND, Message.HELLO),
        {"enum": [1, 2]},
    ),
    Field("correlation_id", str, "Of the suspension. Opaque; goes into the reply.", _REQUEST),
    Field(
        "correlation_id",
        str,
        f"That of the request; or the header {contract.HEADER_CORRELATION_ID}.",
        sometimes=_REPLY,
    ),
    Field("correlation_id", str, "That of the message that was not understood.", (), _DEAD),
    Field(
        "reply_to",
        str,
        "The routing key of the reply, to the default exchange. It may differ in each request.",
        _REQUEST,
    ),
    Field(
        "expiration",
        str,
        "Milliseconds until the deadline, or less, when it was published. Then RabbitMQ drops the request.",
        _REQUEST,
        rules={"pattern": "^[0-9]+$"},
    ),
    Field(
        "expiration",
        str,
        "Milliseconds after which nobody needs it any more.",
        sometimes=_HELLO,
        rules={"pattern": "^[0-9]+$"},
    ),
    Field(
        "correlation_id",
        str,
        "Of a command: goes into its one reply. Its id, too, if the body has none.",
        sometimes=_COMMAND,
    ),
    Field(
        "reply_to",
        str,
        "Of a command: the routing key of its one reply, to the default exchange.",
        sometimes=_COMMAND,
    ),
    Field(
        "expiration",
        str,
        "Of a command: milliseconds after which it is of no use, at most 60,000; 5,000 without it.",
        sometimes=_COMMAND,
        rules={"pattern": "^[0-9]+$"},
    ),
    Field("correlation_id", str, "That of the command.", _COMMAND_REPLY),
    Field("message_id", str, "Of a request its correlation id.", (*_EVENT, *_DEAD), _REPLY),
    Field("timestamp", int, "When it was published, in epoch seconds.", (*_EVENT, *_DEAD)),
    Field("type", str, "The event.", _EVENT),
    Field(
        "user_id",
        str,
        "The adapter's user of RabbitMQ, which vouches for it. Left out where the adapter does not know it.",
        sometimes=_EVENT,
    ),
    Field(
        "app_id",
        str,
        f"{contract.APP_ID}, from the adapter and its SDKs.",
        (*_EVENT, *_DEAD),
        (Message.REPLY, Message.HELLO),
    ),
)

_HEADERS: Final = (
    Field(contract.HEADER_NODE, str, "The name of the Kamailio that suspended it.", (*_EVENT, *_DEAD)),
    Field(
        contract.HEADER_VERSION,
        int,
        f"{contract.VERSION}. A reader refuses a higher one: the request is not what it knows.",
        _EVENT,
        _HELLO,
        rules={"const": contract.VERSION},
    ),
    Field(
        contract.HEADER_DEADLINE, int, "The deadline, in epoch milliseconds by the adapters' clock.", _REQUEST
    ),
    Field(
        contract.HEADER_TIME_LEFT,
        int,
        "Milliseconds until the deadline, when it was published: for a consumer whose clock is another. "
        "May be missing in a request that an operator publishes.",
        sometimes=_REQUEST,
        rules=_POSITIVE,
    ),
    Field(
        contract.HEADER_UNTAKEN,
        int,
        "1: it expires before the deadline, and the adapter then asks again or another service.",
        sometimes=_REQUEST,
        rules={"const": 1},
    ),
    Field(
        contract.HEADER_BCC,
        list,
        "Of a request to the queue of one service. For RabbitMQ alone, which takes it out: by this key the "
        "adapter hears that the request died.",
        sometimes=_REQUEST,
        rules={"items": {"type": "string"}, "maxItems": 1},
    ),
    Field(
        contract.HEADER_BATCH,
        int,
        "How many requests, or replies, the body holds, if that is a msgpack array of their maps. Only where "
        "the policy says batch of a service; the id of each is in its map, not in a property.",
        sometimes=(Message.REQUEST, Message.REPLY),
        rules={"minimum": 2},
    ),
    Field(
        contract.HEADER_DIRECT,
        int,
        "Of a request that an instance of a service of the SDKs passes on to another, which has a handler: "
        "1 if it came straight to the queue of the service.",
        sometimes=_REQUEST,
        rules={"const": 1},
    ),
    Field(
        contract.HEADER_REPLY_TOPIC,
        str,
        "With EVAPI_MQTT: the routing key of a reply by amq.topic, of which MQTT's Response Topic is made.",
        sometimes=_REQUEST,
    ),
    Field(
        contract.HEADER_TRACEPARENT,
        str,
        "The trace of the call (W3C Trace Context), where it is traced.",
        sometimes=_REQUEST,
    ),
    Field(
        contract.HEADER_CORRELATION_ID,
        str,
        "The correlation id, where the property is missing.",
        sometimes=_REPLY,
    ),
    Field(contract.HEADER_SERVICE, str, "The name of the service that decided.", (), _REPLY),
    Field(
        contract.HEADER_STATUS,
        str,
        f"{contract.STATUS_FAILED}: no decision; the call ends with this outcome, and its fallback, at once. "
        f"{contract.STATUS_NONE}: the service has no say in it, see README; the body is empty. "
        f"{contract.STATUS_EXTEND}: it comes later, see {contract.HEADER_EXTEND}; the body is empty.",
        sometimes=_REPLY,
    ),
    Field(
        contract.HEADER_EXTEND,
        int,
        f"With {contract.STATUS_EXTEND}: milliseconds more until the deadline, once for a request, as far as "
        "the policy lets the deadline move.",
        sometimes=_REPLY,
        rules=_POSITIVE,
    ),
    Field(
        contract.HEADER_CACHE,
        int,
        "Seconds for which the decision holds for calls that are alike, where the policy says which are.",
        sometimes=_REPLY,
        rules=_POSITIVE,
    ),
    Field(
        contract.HEADER_RECEIVED,
        int,
        "When the request came to the consumer, in epoch microseconds.",
        sometimes=_REPLY,
    ),
    Field(
        contract.HEADER_REPLIED,
        int,
        "When the reply left the consumer, in epoch microseconds.",
        sometimes=_REPLY,
    ),
    Field(
        command_contract.HEADER_NODES,
        int,
        f"How many nodes there are, so that whoever asked {contract.ALL_NODES} knows when each has replied.",
        _COMMAND_REPLY,
        rules=_ANY_COUNT,
    ),
    Field(contract.HEADER_REASON, str, "Why it was not understood, in one word for programs.", _DEAD),
    Field(contract.HEADER_DETAIL, str, "Why, in words.", _DEAD, _REPLY),
)

_BODIES: Final = (
    Field(
        "command", str, "Its name. Without it the object is pushed to Kamailio as it is.", sometimes=_COMMAND
    ),
    Field("args", dict, "Of the command; of which they are, says README.", sometimes=_COMMAND),
    Field(
        "id",
        str,
        "Of the command: the same again within 60 s does nothing and gets the former outcome.",
        sometimes=_COMMAND,
        rules={"pattern": "^[A-Za-z0-9_.:@+/=-]{1,100}$"},
    ),
    Field(
        "outcome",
        str,
        "What became of the command.",
        _COMMAND_REPLY,
        rules={"enum": [each.value for each in command_contract.CommandOutcome]},
    ),
    Field("node", str, "The name of the Kamailio that was asked.", _COMMAND_REPLY),
    Field("took_ms", int, "Milliseconds in the adapter.", _COMMAND_REPLY, rules=_ANY_COUNT),
    Field("detail", str, "In words, for people; empty: there is nothing to say.", _COMMAND_REPLY),
    Field("event", str, "The event, as Kamailio named it.", _EVENT, rules=_NAME),
    Field("node", str, "The name of the Kamailio that it is from.", _EVENT, rules=_NAME),
    Field("tm_index", int, "Of the transaction, in Kamailio.", _REQUEST, rules=_COUNT),
    Field("tm_label", int, "Of the transaction, in Kamailio.", _REQUEST, rules=_COUNT),
    Field("seq", int, "Counts the suspensions of the transaction, from 1.", _REQUEST, rules=_POSITIVE),
    Field("deadline", int, "In epoch milliseconds: a later decision comes to nothing.", _REQUEST),
    Field(
        "data",
        dict,
        f'What Kamailio told. Bytes, where that was no JSON object; in JSON {{"{contract.BASE64}": "..."}}.',
        _EVENT,
    ),
    Field(
        "decisions",
        dict,
        "In a chain: what the former services decided, by their names.",
        sometimes=_REQUEST,
        rules={"additionalProperties": {"type": "object"}},
    ),
    Field("service", str, "The service; the routing key says the same, and counts.", sometimes=_HELLO),
    Field("instance", str, "Tells apart the instances of a service.", sometimes=_HELLO),
    Field("host", str, "The machine or container that it runs on.", sometimes=_HELLO, rules=_TEXT),
    Field("version", str, "Of the service.", sometimes=_HELLO, rules=_TEXT),
    Field("sdk", str, "What says hello, and its version.", sometimes=_HELLO, rules=_TEXT),
    Field(
        "state",
        str,
        "leaves: it stops, and says no more.",
        sometimes=_HELLO,
        rules={"enum": [hello.HERE, hello.LEAVES]},
    ),
    Field(
        "events",
        list,
        "Those that it has a handler of.",
        sometimes=_HELLO,
        rules={"items": {"type": "string"}, "maxItems": hello.MAX_EVENTS},
    ),
    Field("uptime", int, "For how long it is there, in milliseconds.", sometimes=_HELLO, rules=_ANY_COUNT),
    Field("requests", int, "How many it is done with since then.", sometimes=_HELLO, rules=_ANY_COUNT),
    Field("decided", int, "How many of them it decided.", sometimes=_HELLO, rules=_ANY_COUNT),
    Field("failed", int, "How many of them failed.", sometimes=_HELLO, rules=_ANY_COUNT),
    Field("prefetch", int, "How many it holds at a time.", sometimes=_HELLO, rules=_ANY_COUNT),
    Field("concurrency", int, "How many it works on at a time.", sometimes=_HELLO, rules=_ANY_COUNT),
    Field(
        "per_decision",
        int,
        "From a request's arrival to its reply, in microseconds: the mean of the last ones.",
        sometimes=_HELLO,
        rules=_ANY_COUNT,
    ),
    Field("error", str, "What its handlers raised last.", sometimes=_HELLO, rules=_TEXT),
    Field("error_age", int, "How long ago, in milliseconds.", sometimes=_HELLO, rules=_ANY_COUNT),
    Field(
        "action", str, "By convention, what is to be done: Kamailio's configuration goes by it.", (), _REPLY
    ),
)

FIELDS: Final[Mapping[Place, tuple[Field, ...]]] = {
    Place.PROPERTY: _PROPERTIES,
    Place.HEADER: _HEADERS,
    Place.BODY: _BODIES,
}
"""The table, by place. A name stands twice where it means another thing in another message."""

"""Messages as they are, byte for byte, written by the code that writes them in service.

An entry of the index has all that a test in any language needs: the fields of the body, in their order (bytes
as ``{"base64": "..."}``), and the file with the bytes that they make; the properties and headers; for what
the adapter and the SDK write themselves the AMQP frames, too, as they leave on channel 1.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pamqp import body as amqp_body
from pamqp import commands, frame, header

from adapter import contract, hello
from adapter.broker.rabbitmq import frames
from adapter.broker.rabbitmq.commands import reply_frames
from adapter.command_contract import CommandOutcome, CommandReply, encode_command, encode_reply
from adapter.contract import Decision, Request
from adapter.hello import Hello
from adapter.message_fields import Message
from adapter.ports.broker import DeadLetter, Publication
from adapter.ports.commands import ReplyAddress
from consumers import Service, allow, cached, redirect, reject, route, routes
from consumers.amqp import frames as replies
from consumers.amqp import presence
from consumers.messages import Answer, Extension
from consumers.messages import Message as Asked
from consumers.parameters import PayloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CHANNEL: Final = 1
MOST: Final = 131_064
"""Bytes of a body in a frame, as RabbitMQ has it where nobody asks for another size."""

NOW: Final = 1_790_000_000.25
RECEIVED, REPLIED = NOW + 0.001, NOW + 0.003
CORRELATION_ID: Final = "sbc1:37:1840980198:1:oo9i_o7D8Q0j"
NOTICE_ID: Final = "6a204bd89f3c8348afd5c77c717a097a"
REPLY_ID: Final = "c4ca4238a0b923820dcc509a6f75849b"
USER: Final = "adapter"
TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

_PROPERTY: Final = {"message_type": "type"}
"""What pamqp calls otherwise than AMQP does."""

CALL: Final = {
    "call_id": "a84b4c76e66710@192.0.2.1",
    "user": "441632960000",
    "ruri": "sip:441632960000@a.example",
}
WIDE: Final = {
    "text": 'é € 😀 "quoted" \\ \n',
    "numbers": [
        0,
        -1,
        127,
        128,
        -32,
        -33,
        255,
        256,
        65_536,
        1 << 32,
        -(1 << 31) - 1,
        (1 << 53) - 1,
        0.5,
        -1.125,
    ],
    "nothing": None,
    "yes": True,
    "no": False,
    "empty": {"text": "", "list": [], "map": {}},
    "nested": [[{"deep": [1, [2, [3]]]}]],
    "long": "x" * 40,
    "many": list(range(17)),
}
"""Every type of JSON's, at the borders of msgpack's. Integers of 53 bits at most, as many readers hold."""

FORMER: Final[Mapping[str, Decision]] = {
    "screening": {"action": "allow", "caller": {"name": "Zoë"}},
    "fraud": {"action": "allow", "score": 0.25},
}
"""What the former services of a chain decided."""

ASKED: Final = Request("invite_request", "sbc1", CALL, 37, 1_840_980_198, 1, NOW + 2)


@dataclass(frozen=True)
class Golden:
    """A message. ``publication``: its AMQP frames, of which the index tells all but the body."""

    name: str
    message: Message
    body: bytes
    publication: bytes | None = None

    @property
    def format(self) -> str:
        """How the body is written: ``json``, ``msgpack``, or ``octets`` where it is neither."""
        if self.message is Message.DEAD_LETTER or not self.body:
            return "octets"
        return "json" if contract.content_type(self.body) == contract.JSON else "msgpack"

    @property
    def body_file(self) -> str:
        """The name of the file of the body's bytes."""
        return f"{self.name}.bin"

    @property
    def frames_file(self) -> str:
        """The name of the file of the frames."""
        return f"{self.name}.frames.bin"

    def entry(self) -> dict[str, Any]:
        """What the index says of it."""
        entry: dict[str, Any] = {"name": self.name, "message": self.message.value, "format": self.format}
        entry["body"] = self.body_file
        if self.format != "octets":
            entry["fields"] = plain(contract.decode_reply(self.body))
        if self.publication is not None:
            entry |= {"frames": self.frames_file, **told(self.publication)}
        return entry


def goldens() -> list[Golden]:
    """Make all of them."""
    return [*_requests(), *_notices(), *_replies(), *_commands(), _dead_letter(), *_hellos()]


def told(publication: bytes) -> dict[str, Any]:
    """Read exchange, routing key, properties and headers off the frames of a message."""
    method, content, _ = unmarshalled(publication)
    properties: dict[str, Any] = {
        _PROPERTY.get(name, name): value for name, value in content.properties if value
    }
    if "timestamp" in properties:
        properties["timestamp"] = int(properties["timestamp"].timestamp())
    return {
        "exchange": method.exchange,
        "routing_key": method.routing_key,
        "mandatory": method.mandatory,
        "headers": properties.pop("headers"),
        "properties": properties,
    }


def unmarshalled(publication: bytes) -> tuple[commands.Basic.Publish, header.ContentHeader, bytes]:
    """Take the frames of a message apart with a library that had no part in writing them."""
    found: list[Any] = []
    while publication:
        size, channel, each = frame.unmarshal(publication)
        assert channel == CHANNEL
        found.append(each)
        publication = publication[size:]
    method, content, *rest = found
    assert all(isinstance(each, amqp_body.ContentBody) for each in rest)
    return method, content, b"".join(each.value for each in rest)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return json.loads(
        json.dumps(value, default=lambda raw: {contract.BASE64: base64.b64encode(raw).decode()})
    )


def in_json(value: Mapping[str, Any]) -> bytes:
    """Write a map as JSON, without white space and with letters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def asked(
    name: str,
    request: Request,
    as_json: bool = False,
    traceparent: str = "",
    user: str = USER,
    mqtt: bool = False,
    service: str = "",
    expires: int | None = None,
) -> Golden:
    """A request or a notice, as the adapter publishes it at ``NOW``.

    ``service``: to whose queue it goes. ``expires``: milliseconds for which it waits to be taken.
    """
    body = contract.encode_request(request, as_json)
    id_ = None if request.is_notice else CORRELATION_ID
    queue = contract.service_queue(service) if service else ""
    publication = Publication(request.event, request.node, body, id_, request.deadline, traceparent, queue)
    left = 0 if request.deadline is None else int((request.deadline - NOW) * 1000)
    to = contract.results_queue(request.node)
    written = frames.encode(
        *(CHANNEL, MOST, publication, id_ or NOTICE_ID, int(NOW), left, to, user, mqtt), expires
    )
    return Golden(name, Message.NOTICE if request.is_notice else Message.REQUEST, body, written)


def replied(name: str, answer: Answer | Extension) -> Golden:
    """A reply, as the SDK sends it."""
    to, body = contract.results_queue("sbc1"), answer.body or b""
    written = replies.reply(CHANNEL, MOST, answer, body, to, REPLY_ID, RECEIVED, REPLIED)
    return Golden(name, Message.REPLY, body, written)


def _requests() -> list[Golden]:
    octets, wide = replace(ASKED, data=b"\x00\xff no JSON"), replace(ASKED, data=WIDE)
    foreign = replace(ASKED, event="änderung.neu", node="[2001:db8::5]:8448")
    chained = replace(ASKED, decisions=FORMER)
    return [
        asked("request", ASKED),
        asked("request-in-json", ASKED, as_json=True),
        asked("request-traced", ASKED, traceparent=TRACEPARENT),
        asked("request-without-user", ASKED, user=""),
        asked("request-for-mqtt", ASKED, mqtt=True),
        asked("request-to-a-service", ASKED, service="least_cost"),
        asked("request-to-be-taken-early", ASKED, service="least_cost", expires=600),
        asked("request-of-bytes", octets),
        asked("request-of-bytes-in-json", octets, as_json=True),
        asked("request-of-every-type", wide),
        asked("request-of-every-type-in-json", wide, as_json=True),
        asked("request-with-other-letters", foreign),
        asked("request-with-decisions", chained),
        asked("request-with-decisions-in-json", chained, as_json=True),
    ]


def _notices() -> list[Golden]:
    notice = Request("call_cancelled", "sbc1", CALL)
    return [
        asked("notice", notice),
        asked("notice-in-json", notice, as_json=True),
        asked("notice-to-a-service", notice, service="rating"),
    ]


def _replies() -> list[Golden]:
    gateway = "sip:441632960000@gw1.example.net"
    decisions = {
        "route": route(gateway),
        "routes": routes(
            [{"uri": gateway, "timeout_ms": 2500, "headers": {"X-Carrier": "one"}}, "sip:gw2.example.net"]
        ),
        "reject": reject(403, "Forbidden"),
        "redirect": redirect([gateway, "sip:gw2.example.net"]),
        "allow": allow(),
        "of-your-own": {"action": "queue", **WIDE},
    }
    found = [replied(f"decision-{name}", _answer(partial(dict, each))) for name, each in decisions.items()]
    texts = {f"decision-{name}-in-json": plain(each) for name, each in decisions.items()}
    found += [Golden(name, Message.REPLY, in_json(each)) for name, each in texts.items()]
    found.append(replied("decision-cached", _answer(lambda: cached(route(gateway), seconds=30))))
    found.append(replied("reply-extend", Extension(CORRELATION_ID, "least_cost", 1.5)))
    with _unlogged():
        return [*found, replied("reply-failed", _answer(_fail)), replied("reply-unfit", _answer(_refuse))]


def _answer(decide: Callable[[], Any]) -> Answer:
    service = Service("least_cost", clock=lambda: NOW)
    service.on(ASKED.event)(lambda request: decide())
    found = service.begin(Asked(contract.encode_request(ASKED), CORRELATION_ID))
    assert isinstance(found, Answer)
    return found


def _fail() -> None:
    raise LookupError("no rate")


def _refuse() -> None:
    raise PayloadError("user: a string is needed")


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _commands() -> list[Golden]:
    hangup = encode_command("hangup", {"call_id": "a84b4c76e66710@pc33.example.com"}, "hangup-7")
    return [
        Golden("command", Message.COMMAND, in_json({"event": "reload", "table": "rates"})),
        Golden("command-hangup", Message.COMMAND, hangup),
        *_command_replies(),
    ]


def _command_replies() -> list[Golden]:
    page = {"calls": [{"call_id": CALL["call_id"], "state": "answered", "duration": 61}]}
    done = CommandReply(CommandOutcome.DONE, "sbc1", page, 3)
    refused = CommandReply(CommandOutcome.REFUSED, "sbc1", None, 2, "not in ADAPTER_RPC")
    to, found = ReplyAddress("amq.gen-7", "hangup-7"), list[Golden]()
    for reply, as_json in ((done, True), (refused, False)):
        body = encode_reply(reply, as_json)
        written = reply_frames(CHANNEL, MOST, to, body, 2)
        found.append(Golden(f"command-reply-{reply.outcome}", Message.COMMAND_REPLY, body, written))
    return found


def _hellos() -> list[Golden]:
    """As the SDK publishes them: by the library, whose frames pamqp makes."""
    plain = Hello(
        "least_cost", "host-1-0a1b2c3d", "host", "2.1.0", "python 1.0.0", ("invite_request",), prefetch=100
    )
    fared = replace(
        plain,
        uptime=3600.5,
        requests=1000,
        decided=990,
        failed=3,
        concurrency=20,
        per_decision=0.0025,
        error="invite_request: LookupError",
        error_age=12.5,
    )
    leaving = replace(plain, leaves=True)
    return [said("hello", fared), said("hello-at-first", plain), said("hello-at-the-end", leaving)]


def said(name: str, told: Hello) -> Golden:
    """A hello, with the frames that it leaves in."""
    body = hello.encode(told)
    content = header.ContentHeader(0, len(body), presence.properties())
    method = commands.Basic.Publish(exchange=contract.SERVICES_EXCHANGE, routing_key=told.key)
    parts = (method, content, amqp_body.ContentBody(body))
    return Golden(name, Message.HELLO, body, b"".join(frame.marshal(part, CHANNEL) for part in parts))


def _dead_letter() -> Golden:
    text = b"action=route"
    letter = DeadLetter("format", "neither JSON nor msgpack", text, "sbc1", CORRELATION_ID, "text/plain")
    written = frames.letter(CHANNEL, MOST, letter, NOTICE_ID, int(NOW))
    return Golden("dead-letter", Message.DEAD_LETTER, text, written)

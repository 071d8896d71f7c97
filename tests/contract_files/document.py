"""The AsyncAPI document: channels, operations and messages as the adapter has them.

AsyncAPI 3.1.0, whose binding of AMQP (0.3.0) knows exchanges and queues, but not the properties of a message:
their schema stands beside the headers, as ``x-properties``, and what AsyncAPI looks for in a header
(correlation id, address of the reply) is the property of that name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from adapter import contract
from adapter.broker.rabbitmq.topology import EXCHANGES
from adapter.message_fields import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.contract_files.golden import Golden
    from tests.contract_files.schemas import Schema

ASYNCAPI: Final = "3.1.0"
BINDING: Final = "0.3.0"
SCHEMA_FORMAT: Final = "application/schema+json;version=draft-07"

_KINDS: Final = {exchange.name: exchange.kind for exchange in EXCHANGES}
_CONTENT_TYPES: Final = {
    Message.COMMAND: contract.JSON,
    Message.COMMAND_REPLY: contract.JSON,
    Message.HELLO: contract.JSON,
    Message.DEAD_LETTER: "application/octet-stream",
}
"""The others are written as msgpack or as JSON."""
_PARAMETERS: Final = {
    "event": "The event; characters outside [A-Za-z0-9_-] are _.",
    "node": "The name of a Kamailio.",
    "service": "The name of a service.",
    "instance": "Tells apart the instances of a service.",
}


def document(schemas: Mapping[str, Schema], goldens: Sequence[Golden]) -> dict[str, Any]:
    """Make the document, with the schemas and one example of each message within it."""
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "evapi-adapter",
            "version": f"{contract.VERSION}.0.0",
            "description": (
                "Suspended SIP transactions of Kamailio, told to services over RabbitMQ, which decide. "
                "Bodies are msgpack or JSON, told apart by the first byte: schemas speak of the map in them. "
                "Readers ignore keys and headers that they do not know."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": contract.MSGPACK,
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": _messages(schemas, goldens),
            "schemas": {name.replace(".", "_"): _inside(schema) for name, schema in schemas.items()},
        },
    }


def _channels() -> dict[str, Any]:
    event, reply = ("request", "request_json", "notice", "notice_json"), ("reply", "reply_json")
    return {
        "events": _exchange(
            contract.EVENTS_EXCHANGE,
            "{event}.{node}",
            "Each event, once. Services bind their queues to it by event.*",
            event,
        ),
        "service": _queue(
            contract.service_queue("{service}"),
            "The queue on which the instances of a service compete. It declares it, durable and with "
            f"x-dead-letter-exchange {contract.DEAD_EXCHANGE}, and binds it to its events.",
            event,
        ),
        "results": {
            **_queue(None, "The queue that a request names. The adapter declares it.", reply),
            "x-address": contract.results_queue("{node}"),
        },
        "commands": _exchange(
            contract.COMMANDS_EXCHANGE,
            "{node}",
            f"Commands to one Kamailio, or to {contract.ALL_NODES}.",
            ("command",),
        ),
        "command_replies": _queue(None, "The queue that a command names.", ("command-reply",)),
        "services": _exchange(
            contract.SERVICES_EXCHANGE,
            "hello.{service}.{instance}",
            "Who is there. Each instance says hello every few seconds and when it leaves, and hears what has "
            f"the key {contract.ASK} or {contract.ask_key('SERVICE')}, whatever its body: then it says it at "
            "once.",
            ("hello",),
        ),
        "dead_letters": _exchange(
            contract.DEAD_EXCHANGE,
            "dead-letter",
            f"What was not understood; kept in {contract.DEAD_QUEUE}, with what services rejected.",
            ("dead-letter",),
        ),
    }


def _operations() -> dict[str, Any]:
    return {
        "decide": _operation(
            "send",
            "events",
            "Ask who decides. Answered once, before the deadline; acknowledged after the reply is confirmed.",
            ("request", "request_json"),
            reply=_reply_on("results", ("reply", "reply_json")),
        ),
        "notify": _operation("send", "events", "Tell of an event.", ("notice", "notice_json")),
        "command": _operation(
            "receive",
            "commands",
            "Have Kamailio carry a command out, or push a frame to it as it is. Answered once, on its queue.",
            ("command",),
            reply=_reply_on("command_replies", ("command-reply",)),
        ),
        "hear": _operation("receive", "services", "Hear who is there.", ("hello",)),
        "keep": _operation("send", "dead_letters", "Keep what was not understood.", ("dead-letter",)),
    }


def _reply_on(channel: str, messages: Sequence[str]) -> dict[str, Any]:
    where = "The property reply_to: routing key to the default exchange."
    return {
        "address": {"location": "$message.header#/reply_to", "description": where},
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": _refs(channel, messages),
    }


def _messages(schemas: Mapping[str, Schema], goldens: Sequence[Golden]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for message in Message:
        of_kind = [golden for golden in goldens if golden.message is message]
        content_type = _CONTENT_TYPES.get(message, contract.MSGPACK)
        found[message.value] = _message(message, schemas, of_kind, content_type)
        if content_type == contract.MSGPACK:
            in_json = [golden for golden in of_kind if golden.format == "json"]
            found[f"{message}_json"] = _message(message, schemas, in_json, contract.JSON)
    return found


def _message(
    message: Message, schemas: Mapping[str, Schema], goldens: Sequence[Golden], content_type: str
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": message.value, "contentType": content_type}
    if message.value in schemas:
        found["title"] = schemas[message.value]["description"]
        found["payload"] = {"schemaFormat": SCHEMA_FORMAT, "schema": _payload(message)}
    if f"{message}.headers" in schemas:
        found["headers"] = _schema(f"{message}_headers")
    found["x-properties"] = _schema(f"{message}_properties")
    if "correlation_id" in schemas[f"{message}.properties"]["properties"]:
        where = {"location": "$message.header#/correlation_id", "description": "The property correlation_id."}
        found["correlationId"] = where
    example = goldens[0].entry()
    told = {"headers": example.get("headers"), "payload": example.get("fields")}
    found["examples"] = [{"name": goldens[0].name, **{key: value for key, value in told.items() if value}}]
    return found


def _payload(message: Message) -> Schema:
    plain = _schema(message.value)
    either = {"title": "AnyReply", "anyOf": [_schema("decision"), plain]}
    return either if message is Message.REPLY else plain


def _schema(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _inside(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "$schema"}


def _exchange(name: str, address: str, meaning: str, messages: Sequence[str]) -> dict[str, Any]:
    exchange = {"name": name, "type": _KINDS[name], "durable": True, "autoDelete": False}
    bindings = {"is": "routingKey", "exchange": exchange, "bindingVersion": BINDING}
    return _channel(address, meaning, messages, bindings)


def _queue(address: str | None, meaning: str, messages: Sequence[str]) -> dict[str, Any]:
    queue = {"durable": True, "exclusive": False, "autoDelete": False}
    return _channel(address, meaning, messages, {"is": "queue", "queue": queue, "bindingVersion": BINDING})


def _channel(
    address: str | None, meaning: str, messages: Sequence[str], amqp: dict[str, Any]
) -> dict[str, Any]:
    channel: dict[str, Any] = {"address": address, "description": meaning}
    channel["messages"] = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    names = [name for name in _PARAMETERS if address is not None and f"{{{name}}}" in address]
    if names:
        channel["parameters"] = {name: {"description": _PARAMETERS[name]} for name in names}
    channel["bindings"] = {"amqp": amqp}
    return channel


def _operation(
    action: str, channel: str, summary: str, messages: Sequence[str], reply: dict[str, Any] | None = None
) -> dict[str, Any]:
    operation: dict[str, Any] = {"action": action, "summary": summary}
    operation["channel"] = {"$ref": f"#/channels/{channel}"}
    operation["messages"] = _refs(channel, messages)
    return operation if reply is None else {**operation, "reply": reply}


def _refs(channel: str, messages: Sequence[str]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages]

"""The JSON Schemas of what crosses the bus, made of the table of fields and of the SDK's decisions.

They are of draft 7, which AsyncAPI's own dialect is made of. Each stands for itself, and says who writes what
it describes: by that ``changes`` judges. They speak of bytes as JSON writes them, of msgpack, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from adapter.message_fields import CONSUMER, Message, Place, fields
from adapter.wire.command import NOT_A_COMMAND
from adapter.wire.netstring import MAX_OUT
from consumers import decisions, gateways

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.message_fields import Field

Schema = dict[str, Any]

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
WRITTEN_BY: Final = "x-written-by"
"""The keyword that says who writes it, and so who must be able to read it: the other one."""

_TYPES: Final[Mapping[type, str]] = {str: "string", int: "integer", dict: "object", list: "array"}
_MEANINGS: Final[Mapping[Message, str]] = {
    Message.REQUEST: "A suspended transaction, to be decided",
    Message.NOTICE: "An event for which nothing is suspended and nobody waits",
    Message.REPLY: "Any decision: a map, which Kamailio's configuration gets as it is",
    Message.COMMAND: f"A JSON object of at most {MAX_OUT} bytes, which is pushed to Kamailio as it is, "
    "or, with the key command, a command",
    Message.COMMAND_REPLY: "What became of a command. result: what Kamailio told, null where that is nothing",
    Message.HELLO: "What an instance of a service says of itself; each key may be missing",
}
_URI: Final[Schema] = {"type": "string", "pattern": f"^{decisions.URI}$", "maxLength": decisions.MAX_URI}


def schemas() -> dict[str, Schema]:
    """Return every schema by its name: of bodies, of headers and of properties, for each kind of message."""
    found = {message.value: body(message) for message in _MEANINGS}
    found["decision"] = decision()
    for message in Message:
        for place, title in ((Place.HEADER, "headers"), (Place.PROPERTY, "properties")):
            if fields(message, place):
                found[f"{message}.{title}"] = _of(message, place, title, f"AMQP {title} of a {message}")
    return found


def body(message: Message) -> Schema:
    """Return the schema of the bodies of a kind of message."""
    schema = _of(message, Place.BODY, "", _MEANINGS[message])
    if message is Message.COMMAND:
        schema["not"] = {"anyOf": [{"required": [key]} for key in NOT_A_COMMAND]}
    return schema


def decision() -> Schema:
    """Return the schema of the decisions that the configurations understand which come along."""
    return {
        "$schema": DIALECT,
        "title": "Decision",
        "description": "What the configurations carry out that come along. Any other map is a reply, too.",
        WRITTEN_BY: CONSUMER,
        "oneOf": [
            _action("route", {"uri": _URI}, "Send the call to the URI."),
            _action(
                "reject",
                {},
                "Refuse the call.",
                code=_code(*decisions.REJECT_CODES),
                reason=_reason(),
                headers=_headers(),
            ),
            _action(
                "redirect",
                {"uris": {"type": "array", "items": _URI, "minItems": 1}},
                "Send the caller elsewhere; the first URI is preferred.",
                code=_code(*decisions.REDIRECT_CODES),
            ),
            _action("allow", {}, "Let the call go on as it was.", max_duration=_duration()),
            _routes(),
        ],
    }


def _of(message: Message, place: Place, part: str, meaning: str) -> Schema:
    """The title is what generators of code name the type by."""
    rows, title = fields(message, place), f"{message}-{part}".title().replace("-", "")
    schema: Schema = {"$schema": DIALECT, "title": title, "description": meaning}
    schema |= {WRITTEN_BY: message.written_by, "type": "object"}
    if rows:
        schema["properties"] = {row.name: _field(row) for row in rows}
    required = [row.name for row in rows if message in row.always]
    return {**schema, "required": required} if required else schema


def _field(row: Field) -> Schema:
    return {"description": row.meaning, "type": _TYPES[row.type], **row.rules}


def _action(name: str, needed: Mapping[str, Schema], meaning: str, **more: Schema) -> Schema:
    return {
        "title": name,
        "description": meaning,
        "type": "object",
        "properties": {"action": {"const": name}, **needed, **more},
        "required": ["action", *needed],
    }


def _code(low: int, high: int) -> Schema:
    return {"description": "The SIP status.", "type": "integer", "minimum": low, "maximum": high}


def _reason() -> Schema:
    printable = {"pattern": "^[^\\u0000-\\u001f\\u007f]*$", "maxLength": decisions.MAX_REASON}
    return {"description": "The reason phrase, in one line.", "type": "string", **printable}


def _headers() -> Schema:
    allowed = {"type": "string", "pattern": "^[^\\u0000-\\u001f\\u007f]*$"}
    taken = "|".join(sorted(decisions.NOT_SET))
    pattern = f"^(?!(?:{taken})$){decisions.HEADER}$"
    return {
        "description": "By their names. They replace the caller's of these names.",
        "type": "object",
        "patternProperties": {pattern: allowed},
        "additionalProperties": False,
    }


def _routes() -> Schema:
    uri = {"type": "string", "pattern": f"^{gateways.SIP_URI}$", "maxLength": decisions.MAX_URI}
    code = {"type": ["integer", "string"], "minimum": 300, "maximum": 699, "pattern": f"^{gateways.REROUTE}$"}
    keys: Schema = {
        "uri": {"description": "With a user the request URI, without one the next hop.", **uri},
        "timeout_ms": {
            "description": "Milliseconds for a final reply, ringing included.",
            **_whole(gateways.MAX_TIMEOUT),
        },
        "reroute_on": {
            "description": "The replies after which the next route is tried; by default 408 and 5xx.",
            "type": "array",
            "items": code,
            "maxItems": gateways.MAX_REROUTE,
        },
        "headers": _headers(),
        "caller": {
            "description": "A number or a URI, for From.",
            "type": "string",
            "pattern": f"^(?:{gateways.CALLER})$",
            "maxLength": gateways.MAX_CALLER,
        },
    }
    route = {"type": "object", "properties": keys, "required": ["uri"], "additionalProperties": False}
    listed = {"type": "array", "items": route, "minItems": 1, "maxItems": gateways.MAX_ROUTES}
    meaning = "Send the call to one of these, in turn or to all at once."
    mode = {"enum": list(gateways.MODES)}
    return _action("route", {"routes": listed}, meaning, mode=mode, max_duration=_duration()) | {
        "title": "routes"
    }


def _whole(most: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most}


def _duration() -> Schema:
    return {"description": "Seconds until Kamailio ends the call.", **_whole(gateways.MAX_DURATION)}

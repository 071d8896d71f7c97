"""Commands to Kamailio as they cross the bus: their names, their outcomes, their bodies. Pure.

A command is a map ``{"command", "args", "id"}`` to the exchange ``evapi.commands``, its reply a map
``{"outcome", "node", "result", "took_ms", "detail"}``. The format of either is told by its first byte.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgpack

from adapter.bodies import decode
from adapter.errors import CodecError
from adapter.records import record

if TYPE_CHECKING:
    from collections.abc import Mapping

HANGUP: Final = "hangup"
CALLS: Final = "calls"
COMMANDS: Final = (HANGUP, "limit", "transfer", "request", "cancel", CALLS, "rpc")
"""What the include carries out by itself. Any other name is for the user's own ``route[COMMAND]``."""
OWN: Final = "own"
"""What metrics call a command that is for ``route[COMMAND]``: its name is anybody's choice."""
PLACE: Final = (HANGUP, CALLS)
"""Commands whose first ``done``, of all nodes, tells where the call with that Call-ID is."""
HEADER_NODES: Final = "x-nodes"
"""Of a reply: how many nodes there are, so that whoever asked all of them knows when all have answered."""
WITHIN: Final = 5.0
"""Seconds that a command has, where its message has no ``expiration``."""
LONGEST: Final = 60.0
"""Seconds that a command may have."""


class CommandOutcome(StrEnum):
    """How a command ended. Each has exactly one."""

    DONE = "done"
    REFUSED = "refused"  # not allowed, or wrong arguments
    NOT_FOUND = "not_found"  # no such call
    FAILED = "failed"  # Kamailio or the phone said no: the code is in the result
    TIMEOUT = "timeout"  # nobody knows what became of it
    UNAVAILABLE = (
        "unavailable"  # it went to nobody: the node is unknown, its link down, or it takes no commands
    )


@record
class CommandReply:
    """What became of a command.

    Args:
        outcome: how it ended.
        node: the Kamailio that was asked.
        result: what it told; None: nothing.
        took_ms: milliseconds in the adapter.
        detail: in words, for people; empty: there is nothing to say.
    """

    outcome: CommandOutcome
    node: str
    result: Any = None
    took_ms: int = 0
    detail: str = ""

    @property
    def done(self) -> bool:
        """Whether it was carried out."""
        return self.outcome is CommandOutcome.DONE


def encode_command(name: str, args: Mapping[str, Any], id_: str) -> bytes:
    """Write a command's body, in JSON. Raises CodecError for what JSON does not have."""
    try:
        text = json.dumps({"command": name, "args": args, "id": id_}, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise CodecError("not-json", f"{name}: {exc}") from exc
    return text.encode()


def encode_reply(reply: CommandReply, as_json: bool = True) -> bytes:
    """Write a reply's body, in JSON or msgpack."""
    told = {
        "outcome": reply.outcome.value,
        "node": reply.node,
        "result": reply.result,
        "took_ms": reply.took_ms,
        "detail": reply.detail,
    }
    if as_json:
        return json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    packed: bytes = msgpack.packb(told, unicode_errors="replace")
    return packed


def decode_reply(body: bytes) -> CommandReply:
    """Read a reply. Raises CodecError for what is none."""
    told = decode(body)
    try:
        outcome = CommandOutcome(told["outcome"])
        took = told.get("took_ms")
        node, detail = told.get("node"), told.get("detail")
    except (KeyError, ValueError) as exc:
        raise CodecError("not-a-reply", f"no outcome of a command: {exc}") from exc
    return CommandReply(
        outcome,
        node if isinstance(node, str) else "",
        told.get("result"),
        took if isinstance(took, int) else 0,
        detail if isinstance(detail, str) else "",
    )

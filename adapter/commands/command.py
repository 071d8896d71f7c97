"""What a message to ``evapi.commands`` asks for: a command, or a frame to be pushed as it is. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

from adapter import bodies
from adapter.command_contract import COMMANDS, LONGEST, OWN, WITHIN
from adapter.errors import CodecError
from adapter.model.transaction import State, Transaction, TransactionId
from adapter.ports.commands import ReplyAddress
from adapter.records import record
from adapter.wire import command as wire

if TYPE_CHECKING:
    from adapter.ports.commands import Asked

SPARE: Final = 5.0
"""Seconds past its deadline after which the store ends a command: by then whoever has it has ended it."""
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ID: Final = re.compile(r"[A-Za-z0-9_.:@+/=-]{1,100}")


@record
class Command:
    """A command that is understood.

    ``args``: JSON text of an object. ``deadline``, ``came_at``: epoch seconds. ``as_json``: whether the reply
    is to be JSON, else msgpack.
    """

    node: str
    id: str
    name: str
    args: bytes
    call_id: str
    deadline: float
    came_at: float
    to: ReplyAddress
    as_json: bool = True

    @property
    def key(self) -> TransactionId:
        """What names it in the store for commands: a digest of its id."""
        return _key(self.node, self.id)

    @property
    def label(self) -> str:
        """What metrics call it."""
        return self.name if self.name in COMMANDS else OWN


def read(asked: Asked, now: float) -> Command | None:
    """Read a command; None: it is a frame that is pushed as it is.

    Args:
        asked: what came.
        now: epoch seconds.

    Raises:
        CodecError: it names a command and cannot be carried out; the detail tells what is wrong.
    """
    try:
        told = bodies.decode(asked.body)
    except CodecError:
        return None  # if it is no JSON either, the push refuses it
    if "command" not in told:
        return None
    name, args, id_ = told["command"], told.get("args"), told.get("id")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CodecError("command", f"a name is 1 to 64 letters, digits, _, . and -, not {_shown(name)}")
    if args is None:
        args = {}
    if not isinstance(args, dict):
        raise CodecError("command", f"args must be a map, not {_shown(args)}")
    if id_ is None:
        usable = _ID.fullmatch(asked.to.correlation_id) is not None
        id_ = asked.to.correlation_id if usable else secrets.token_hex(8)
    elif not isinstance(id_, str) or not _ID.fullmatch(id_):
        raise CodecError("command", f"an id is 1 to 100 letters, digits and _.:@+/=-, not {_shown(id_)}")
    call_id = args.get("call_id") or _call_id_of(args.get("dialog"))
    within = min(WITHIN if asked.within is None else asked.within, LONGEST)
    return Command(
        asked.node,
        id_,
        name,
        wire.args_json(args),
        call_id if isinstance(call_id, str) else "",
        now + within,
        now,
        asked.to,
        as_json=asked.body.lstrip()[:1] == b"{",
    )


def held(command: Command, owner: str) -> Transaction:
    """Make the record that the in-flight store holds while the command is under way."""
    request = {
        "id": command.id,
        "name": command.name,
        "args": command.args.decode(),
        "to": [command.to.queue, command.to.correlation_id],
        "json": command.as_json,
    }
    return Transaction(
        command.key,
        command.name,
        command.deadline + SPARE,
        command.came_at,
        json.dumps(request, separators=(",", ":")).encode(),
        owner,
        call_id=command.call_id,
    )


def taken_over(record_: Transaction) -> Command | None:
    """Undo ``held``, of another replica's record; None if it cannot be read, or is over."""
    if record_.state is not State.CLAIMED:
        return None
    try:
        told: dict[str, Any] = json.loads(record_.request)
        queue, correlation_id = told["to"]
        return Command(
            record_.id.node,
            told["id"],
            told["name"],
            told["args"].encode(),
            record_.call_id,
            record_.deadline - SPARE,
            record_.claimed_at,
            ReplyAddress(queue, correlation_id),
            bool(told["json"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _key(node: str, id_: str) -> TransactionId:
    digest = hashlib.blake2b(id_.encode(), digest_size=8, usedforsecurity=False).digest()
    return TransactionId(node, int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big"), 1)


def _call_id_of(dialog: Any) -> str:
    """The Call-ID in what ``calls`` names a dialog: d<entry>:<id>:<Call-ID>."""
    return dialog.split(":", 2)[2] if isinstance(dialog, str) and dialog.count(":") > 1 else ""


def _shown(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, str | int | float) else type(value).__name__

"""Commands as frames of EVAPI, and their results: see ``adapter.commands``. Pure.

::

    {"adapter":{"command":"<id>","name":"hangup","args":{...}}}                   to Kamailio
    {"adapter":{"result":"<id>","outcome":"done","data":{...},"detail":"..."}}    what became of it
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from adapter.bodies import decode_json
from adapter.command_contract import CommandOutcome
from adapter.errors import CodecError
from adapter.records import record
from adapter.wire.netstring import MAX_OUT
from adapter.wire.to_kamailio import decision_json

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_A_COMMAND: Final = ("tm_trans", "adapter", "tm_index", "tm_label")
"""Keys by which Kamailio's configuration would take a command for something else."""
RECEIPT: Final = "!"
"""How the tokens of sync frames begin that follow a frame which was pushed as it is."""


@record
class Result:
    """What became of a command, or of a frame that was pushed, by its id."""

    id: str
    outcome: CommandOutcome
    data: Any = None
    detail: str = ""

    @property
    def done(self) -> bool:
        """Whether it was carried out."""
        return self.outcome is CommandOutcome.DONE


def command(id_: str, name: str, args: bytes) -> bytes:
    """Write a command. ``args`` is JSON text of an object."""
    return b'{"adapter":{"command":%b,"name":%b,"args":%b}}' % (_quoted(id_), _quoted(name), args)


def receipt(token: str) -> Result:
    """Make the result of a frame that was pushed, of its receipt."""
    return Result(token, CommandOutcome.DONE)


def args_json(args: Mapping[str, Any]) -> bytes:
    """Write the arguments. Raises CodecError for what Kamailio's parser would refuse."""
    return decision_json(args)


def result(told: Mapping[str, Any]) -> Result | None:
    """Read what Kamailio tells of a command; None if it is no such thing.

    An outcome that is none counts as ``failed``: the command is over, and somebody's route has said so.
    """
    id_, outcome, detail = told.get("result"), told.get("outcome"), told.get("detail")
    if not isinstance(id_, str):
        return None
    detail = detail if isinstance(detail, str) else ""
    try:
        found = CommandOutcome(str(outcome))
    except ValueError:
        found, detail = CommandOutcome.FAILED, f"the outcome {str(outcome)[:40]!r} is none; {detail}"
    return Result(id_, found, told.get("data"), detail)


def check_command(body: bytes) -> None:
    """Raises CodecError for what Kamailio would not read, or take for something else, if pushed."""
    if len(body) > MAX_OUT:  # before it is read: it may be as long as the broker lets it be
        raise CodecError("too-large", f"{len(body)} bytes, at most {MAX_OUT} allowed")
    try:
        frame = decode_json(body.decode())
    except (ValueError, RecursionError) as exc:
        raise CodecError("not-json", str(exc)) from exc
    if not isinstance(frame, dict) or not frame.keys().isdisjoint(NOT_A_COMMAND):
        raise CodecError("not-a-command", "a JSON object without tm_trans and adapter is")
    decision_json(frame)  # what Kamailio's parser refuses would be lost without a word


def _quoted(text: str) -> bytes:
    return json.dumps(text).encode()

"""Which frames may be pushed to Kamailio as they are. Pure."""

from __future__ import annotations

from typing import Final

from adapter.bodies import decode_json
from adapter.errors import CodecError
from adapter.wire.netstring import MAX_OUT
from adapter.wire.to_kamailio import decision_json

NOT_A_COMMAND: Final = ("tm_trans", "adapter", "tm_index", "tm_label")
"""Keys by which Kamailio's configuration would take a command for something else."""


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

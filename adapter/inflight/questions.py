"""How an operator's command asks an adapter that runs on the same machine: one frame there, one back.

A frame is four bytes of length and a msgpack value: ``[verb, arguments]``, answered by ``[true, result]`` or
``[false, why]``. The socket is abstract (Linux): it has no file, is found by the port of EVAPI_HTTP, and goes
with the process. Each side looks who the other is (``SO_PEERCRED``).
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

import msgpack

from adapter.model.transaction import Outcome, State, Transaction, TransactionId

if TYPE_CHECKING:
    import asyncio

MOST_ASKED: Final = 1_000_000
MOST_ANSWERED: Final = 64_000_000
"""Bytes of a question and of an answer."""
_LENGTH: Final = struct.Struct("!I")
_WHO: Final = struct.Struct("3i")  # pid, uid, gid


def address(port: int) -> str:
    """Return the abstract address of the adapter whose EVAPI_HTTP has this port."""
    return f"\0evapi-adapter:{port}"


def is_trusted(peer: socket.socket) -> bool:
    """Return True if the process at the other end is of this user or of root, or this one is root's."""
    _, uid, _ = _WHO.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _WHO.size))
    return uid in (0, os.geteuid()) or os.geteuid() == 0


def frame(value: Any) -> bytes:
    """Return a value as a frame."""
    body: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return _LENGTH.pack(len(body)) + body


async def read_frame(reader: asyncio.StreamReader, most: int) -> Any:
    """Read a frame.

    Raises:
        EOFError: the other side is gone (IncompleteReadError is one).
        ValueError: it is longer than ``most`` bytes, or no msgpack.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > most:
        raise ValueError(f"a frame of {length} bytes, at most {most} are taken")
    return msgpack.unpackb(
        await reader.readexactly(length), unicode_errors="surrogatepass", strict_map_key=False
    )


def pack_record(record: Transaction) -> list[Any]:
    """Return a record as plain values."""
    outcome = None if record.outcome is None else record.outcome.value
    return [
        *(list(record.id), record.event, record.deadline, record.claimed_at, record.request, record.owner),
        *(record.state.value, outcome, record.decision, record.incarnation, record.call_id, record.course),
    ]


def unpack_record(values: list[Any]) -> Transaction:
    """Undo ``pack_record``. Raises ValueError, TypeError for what is none."""
    id_, event, deadline, claimed_at, request, owner, state, outcome, decision, life, call_id, course = values
    return Transaction(
        *(TransactionId(*id_), event, deadline, claimed_at, request, owner, State(state)),
        outcome=None if outcome is None else Outcome(outcome),
        decision=decision,
        incarnation=life,
        call_id=call_id,
        course=course,
    )

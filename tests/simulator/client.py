"""A raw connection to the simulated Kamailio."""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import struct
import termios
from typing import TYPE_CHECKING, Any

from adapter.wire import event as wire
from adapter.wire.event import Hello, Notice

if TYPE_CHECKING:
    from adapter.simulator import SimTransaction, SimulatedKamailio

TIMEOUT = 10.0


def netstring(payload: bytes) -> bytes:
    return b"%d:%b," % (len(payload), payload)


def resume_of(call: SimTransaction, *, seq: object = None, **changes: Any) -> bytes:
    ids = {"tm_index": call.index, "tm_label": call.label, "seq": seq or call.seq, **changes}
    return json.dumps({"tm_trans": ids, "outcome": "decided", "decision": {"n": ids["seq"]}}).encode()


class Client:
    """A raw connection. ``buffer``: bytes of SO_RCVBUF."""

    def __init__(self, sim: SimulatedKamailio, buffer: int = 0) -> None:
        self._address = sim.host, sim.port
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._loop = asyncio.get_running_loop()
        self._standby = b""

    async def __aenter__(self) -> Client:
        try:
            await self._loop.sock_connect(self.sock, self._address)
        except OSError:
            self.sock.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sock.close()

    async def send(self, data: bytes) -> None:
        """Write bytes; returns when all of them lie in the simulator's socket."""
        async with asyncio.timeout(TIMEOUT):
            await self._loop.sock_sendall(self.sock, data)
            while struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)))[0]:
                await asyncio.sleep(0)

    async def say(self, *payloads: bytes) -> None:
        await self.send(b"".join(map(netstring, payloads)))

    async def read(self) -> bytes:
        async with asyncio.timeout(TIMEOUT):
            return await self._loop.sock_recv(self.sock, 1 << 16)

    async def frame(self) -> bytes:
        """The next payload; b"" at the end."""
        while True:
            length, colon, rest = self._standby.partition(b":")
            if colon and len(rest) > int(length):
                payload, self._standby = rest[: int(length)], rest[int(length) + 1 :]
                return payload
            data = await self.read()
            if not data:
                return b""
            self._standby += data

    async def event(self) -> wire.Event | None:
        return wire.parse(await self.frame())

    async def hello(self) -> str:
        """The life that the next frame, a hello, names."""
        found = await self.event()
        assert isinstance(found, Hello)
        assert found == Hello(receipts=True, gate=True, incarnation=found.incarnation, version=found.version)
        assert found.incarnation
        return found.incarnation


async def until_event(client: Client, name: str) -> None:
    """Read up to the notice of that name."""
    while wire.parse(payload := await client.frame()) != Notice(name, {}):
        assert payload, "the connection has ended"

"""A running link, what it tells, and the peers that it is run against."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from adapter.evapi.limits import LinkSettings
from adapter.evapi.link import Link
from adapter.model.transaction import Outcome, TransactionId
from adapter.settings import Address
from adapter.wire import netstring, to_kamailio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


def hello(incarnation: str = "one", **more: Any) -> bytes:
    told = {"hello": 1, "receipts": True, "gate": True, "life": incarnation, **more}
    return netstring.encode(json.dumps({"adapter": told}).encode())


HELLO = hello()


class Owner:
    """Keeps what a link tells."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.read: list[TransactionId] = []
        self.states: list[bool] = []
        self.sound: list[bool] = []
        self.may = True

    def may_write(self, node: str) -> bool:
        return self.may

    def on_events(self, link: Link, events: Sequence[Any]) -> None:
        self.events += events

    def on_read(self, link: Link, ids: Sequence[TransactionId]) -> None:
        self.read += ids

    def on_result(self, link: Link, result: object) -> None: ...

    def on_link(self, link: Link) -> None:
        self.states.append(link.up)
        self.sound.append(link.sound)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def frame(reader: asyncio.StreamReader) -> dict[str, Any]:
    length = int((await reader.readuntil(b":"))[:-1])
    found: dict[str, Any] = json.loads((await reader.readexactly(length + 1))[:-1])
    return found


@asynccontextmanager
async def linked(peer: Any, port: int = 0, **limits: Any) -> AsyncIterator[tuple[Link, Owner]]:
    """A running link to a server whose every connection is served by ``peer``."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            await peer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the link, or the test, went first
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    owner = Owner()
    address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    limits = {"backoff_min": 0.001, "backoff_max": 0.01, **limits}
    link = Link("sbc1", address, owner, "r1", LinkSettings(**limits))
    task = asyncio.create_task(link.run())
    try:
        yield link, owner
    finally:
        server.close()
        await turns()  # a connection accepted just now gets its handler
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await turns()  # in which the aborted transports close


def resume(label: int = 1, node: str = "sbc1") -> tuple[bytes, TransactionId]:
    id_ = TransactionId(node, 1, label, 1)
    return to_kamailio.resume(id_, "e", Outcome.DECIDED, b"{}"), id_


def soon() -> float:
    return asyncio.get_running_loop().time() + 30


def synced(told: dict[str, Any], **more: Any) -> bytes:
    return netstring.encode(json.dumps({"adapter": {"synced": told["adapter"]["sync"], **more}}).encode())


class Peer:
    """Says hello, keeps what it reads, and gives receipts while ``answering``. It reads while ``reading``
    is set. ``open``: what it says of suspensions that it is asked about.
    """

    def __init__(self, first: bytes = HELLO) -> None:
        self.first = first
        self.seen: list[dict[str, Any]] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.answering = True
        self.open: bool | None = True
        self.lost: list[BaseException] = []
        self.writer: asyncio.StreamWriter | None = None

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        writer.write(self.first)
        try:
            while True:
                await self.reading.wait()
                told = await frame(reader)
                self.seen.append(told)
                if "sync" in told.get("adapter", {}) and self.answering:
                    more = {"open": self.open} if "asked" in told["adapter"] else {}
                    writer.write(synced(told, **more))
        except (ConnectionError, asyncio.IncompleteReadError) as exc:
            self.lost.append(exc)
            raise

    @property
    def labels(self) -> list[int]:
        return [told["tm_trans"]["tm_label"] for told in self.seen if "tm_trans" in told]

    @property
    def asked(self) -> list[tuple[str, int]]:
        told = [each["adapter"] for each in self.seen if "adapter" in each]
        return [(each["asked"], each["seq"]) for each in told if "asked" in each]


def send(link: Link, label: int, again: bool = False) -> None:
    payload, id_ = resume(label)
    link.send(payload, soon(), id_, again)

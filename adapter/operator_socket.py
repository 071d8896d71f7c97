"""Answers an operator's commands about a replica that has no Redis: what Redis and RabbitMQ would tell of it.

It reads, and asks the embedded broker's services a test question or pushes a command; nothing else can be
done by it. Who may ask is in ``inflight.questions``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter.broker.embedded import EmbeddedBroker
from adapter.contract import ALL_NODES, Request, encode_request
from adapter.errors import CodecError
from adapter.inflight import questions
from adapter.inflight.local import LocalStore
from adapter.model.beat import told
from adapter.model.transaction import TransactionId
from adapter.ports.commands import Asked, ReplyAddress

if TYPE_CHECKING:
    from adapter.cluster.beats import Beats
    from adapter.commands.commands import Commands
    from adapter.evapi.nodes import Nodes
    from adapter.ports.broker import Broker
    from adapter.ports.store import Store

log = structlog.get_logger()

REMEDY: Final = "give each adapter of this user an EVAPI_HTTP of its own, or set EVAPI_REDIS_URL; calls go on"
MOST_AT_A_TIME: Final = 16
"""Connections; more are refused."""
IDLE: Final = 60.0
"""Seconds without a question after which a connection is closed."""
LONGEST: Final = 60.0
"""Seconds that a test question may wait for its answer."""
COMMAND_TIME: Final = 5.0
"""Seconds that a command has."""
_NOBODY: Final = (lambda _: None, lambda _, __: None)
"""Takes replies and dead letters of commands that nobody waits for."""
Verb = Callable[..., Awaitable[Any]]


class OperatorSocket:
    """Of one replica.

    Args:
        port: of EVAPI_HTTP, by which commands find it.
        store: what is in flight, and the journal; of one that is Redis' nobody needs to ask.
        beats: what this replica says of itself.
        nodes: what it is linked to.
        commands: takes those to Kamailio.
        broker: the embedded one; of another nothing is told.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        port: int,
        store: Store,
        beats: Beats,
        nodes: Nodes,
        commands: Commands,
        broker: Broker,
        clock: Callable[[], float],
    ) -> None:
        self._port = port
        self._store = store if isinstance(store, LocalStore) else None
        self._beats = beats
        self._nodes = nodes
        self._commands = commands
        self._broker = broker if isinstance(broker, EmbeddedBroker) else None
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._talking: set[asyncio.Task[None]] = set()
        self._verbs: dict[str, Verb] = {
            "look": self._look,
            "journal": self._journal,
            "scan": self._scan,
            "get": self._get,
            "bus": self._bus,
            "letters": self._letters,
            "ask": self._ask,
            "command": self._command,
        }

    async def start(self) -> None:
        """Listen, if there is no Redis; where that cannot be (not Linux, the name is taken) it is told."""
        if self._store is None:
            return
        listens = socket.socket(socket.AF_UNIX)
        try:
            listens.bind(questions.address(self._port))
            listens.listen(MOST_AT_A_TIME)
            listens.setblocking(False)
            self._server = await asyncio.start_unix_server(self._talk, sock=listens)
        except OSError as exc:
            listens.close()
            log.warning("operator's commands cannot ask this adapter", error=str(exc), do=REMEDY)

    async def close(self) -> None:
        """Stop listening, and leave who asks."""
        if self._server is not None:
            self._server.close()
        for task in self._talking:
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server's callback is one"
        self._talking.add(task)
        try:
            if len(self._talking) <= MOST_AT_A_TIME and questions.is_trusted(writer.get_extra_info("socket")):
                with contextlib.suppress(OSError, EOFError, ValueError, TimeoutError):
                    await self._answer_all(reader, writer)
        finally:
            self._talking.discard(task)
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(IDLE):
                asked = await questions.read_frame(reader, questions.MOST_ASKED)
            try:
                verb, arguments = asked
                answer = [True, await self._verbs[verb](*arguments)]
            except (KeyError, TypeError, ValueError, CodecError) as exc:
                answer = [False, f"{type(exc).__name__}: {exc}"]
            writer.write(questions.frame(answer))
            async with asyncio.timeout(IDLE):
                await writer.drain()

    @property
    def _local(self) -> LocalStore:
        assert self._store is not None, "else nobody listens"
        return self._store

    async def _look(self) -> dict[str, Any]:
        """Who this replica is, and how it is."""
        beat = self._beats.numbered(self._beats.state)
        return {"replica": self._local.replica, "beat": told(beat), "at": self._clock()}

    async def _journal(self, after: str, most: int) -> list[Any]:
        return self._local.journal.read(after, most)

    async def _scan(self, node: str) -> list[Any]:
        return [questions.pack_record(record) for record in await self._local.scan(node)]

    async def _get(self, id_: list[Any]) -> list[Any] | None:
        record = await self._local.get(TransactionId(*id_))
        return None if record is None else questions.pack_record(record)

    async def _bus(self) -> dict[str, Any] | None:
        """The services in this process, and how many dead letters there are; None: RabbitMQ has them."""
        return None if self._broker is None else self._broker.questions.seen()

    async def _letters(self) -> list[Any]:
        letters = [] if self._broker is None else list(self._broker.dead_letters)
        return [
            [each.reason, each.detail, each.body, each.node, each.correlation_id, each.content_type]
            for each in letters
        ]

    async def _ask(self, event: str, node: str, data: dict[str, Any], seq: int, seconds: float) -> Any:
        """Ask the services; what they reply is given as it came, and no call is touched."""
        if self._broker is None:
            return None
        within = min(float(seconds), LONGEST)
        request = Request(event, node, data, 0, 0, seq, self._clock() + within)
        id_ = f"{node}:0:0:{seq}"
        reply = await self._broker.questions.ask(event, node, id_, encode_request(request), within)
        if reply is None or isinstance(reply, str):
            return reply
        return [reply.body, reply.status, reply.service, reply.rejected, reply.detail]

    async def _command(self, target: str, body: bytes) -> list[str]:
        """Push a command; return the nodes that it goes to."""
        names = list(self._nodes.readers) if target == ALL_NODES else [target]
        sent = [name for name in names if name in self._nodes.readers]
        for name in sent:
            self._commands.on_command(Asked(name, body, ReplyAddress(), COMMAND_TIME, False, *_NOBODY))
        return sent

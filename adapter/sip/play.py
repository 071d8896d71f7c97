"""Makes one call over UDP, and plays the gateway that answers it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from adapter.address import Address
from adapter.errors import AdapterError, CodecError
from adapter.sip.call import Call, State, Wanted
from adapter.sip.gateway import Gateway
from adapter.sip.ladder import Party, Step
from adapter.sip.message import Message, uri_of, values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.sip.call import Out

PORT: Final = 5060
"""SIP's own."""
_HOST: Final = re.compile(r"sips?:(?:[^@]*@)?(\[[^\]]+\]|[^:;?>]+)(?::(\d+))?")
DESCRIPTION: Final = (
    "v=0\r\no=- 0 0 IN {kind} {host}\r\ns=-\r\nc=IN {kind} {host}\r\nt=0 0\r\nm=audio 9 RTP/AVP 8 0\r\n"
)
"""A session description (RFC 4566) for the discard port: nobody speaks."""


class NobodyListens(AdapterError):
    """Nothing has the port to which the call was sent."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        server: the proxy's address.
        number: a user of the proxy's, or a whole SIP URI; None: no call, the gateway alone.
        caller: the From URI, or the user of one.
        headers: more headers of the INVITE.
        timeout: seconds to the final response.
        hold: seconds between the answer and BYE.
        gateway: where to listen as the gateway; None: not at all.
        code: the gateway's final response.
        ring: seconds for which the gateway rings.
    """

    server: Address
    number: str | None
    caller: str = "caller"
    headers: Sequence[tuple[str, str]] = ()
    timeout: float = 10.0
    hold: float = 0.0
    gateway: Address | None = None
    code: int = 200
    ring: float = 0.0


@dataclass(slots=True)
class Played:
    """What came of it."""

    call_id: str = ""
    final: Message | None = None
    seconds: float | None = None
    """From INVITE to the final response."""
    in_time: bool = False
    """Whether the final response came before the call was cancelled."""
    steps: list[Step] = field(default_factory=list)


class _Endpoint(asyncio.DatagramProtocol):
    """One UDP socket; each message that comes is handed over with its source."""

    transport: asyncio.DatagramTransport

    def __init__(self, take: Callable[[_Endpoint, Message, Address], None], failed: asyncio.Event) -> None:
        self._take = take
        self._failed = failed

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        with contextlib.suppress(CodecError):  # a keep-alive, or none of ours: SIP drops it, too
            self._take(self, Message.parse(data), Address(*addr[:2]))

    def error_received(self, exc: Exception) -> None:
        self._failed.set()

    @property
    def address(self) -> Address:
        return Address(*self.transport.get_extra_info("sockname")[:2])


class Player:
    """Carries out one `Plan`. ``tell`` gets each message as it is sent or comes."""

    def __init__(self, plan: Plan, tell: Callable[[Step], None]) -> None:
        self._plan = plan
        self._tell = tell
        self._played = Played()
        self._begun = 0.0
        self._news = asyncio.Event()
        self._refused = asyncio.Event()
        self._call: Call | None = None
        self._gateway: Gateway | None = None
        self._line: _Endpoint
        self._dialog: _Endpoint
        self._at_gateway: _Endpoint | None = None

    async def play(self) -> Played:
        """Do it all.

        Raises:
            AdapterError: The gateway's port is taken, or a name is unknown.
            NobodyListens: Nothing has the proxy's port.
        """
        with contextlib.ExitStack() as opened:
            await self._open(opened)
            try:
                await self._run()
            except asyncio.CancelledError:
                await self._hang_up()
                raise
        return self._played

    async def _open(self, opened: contextlib.ExitStack) -> None:
        plan = self._plan
        if plan.gateway is not None:
            self._at_gateway = await self._bound(opened, plan.gateway)
            body = _description(plan.gateway.host)
            self._gateway = Gateway(str(self._at_gateway.address), plan.code, plan.ring, body)
        if plan.number is None:
            return
        own = await _own_address(plan.server)
        self._line = await self._bound(opened, Address(own, 0), plan.server)
        self._dialog = await self._bound(opened, Address(own, 0))
        self._played.call_id = f"{os.urandom(6).hex()}@{own}"
        self._call = Call(
            Wanted(
                _uri(plan.number, plan.server),
                _uri(plan.caller, Address(own, PORT)),
                self._played.call_id,
                str(self._line.address),
                str(self._dialog.address),
                plan.headers,
                _description(own),
                plan.timeout,
                plan.hold,
            )
        )

    async def _bound(
        self, opened: contextlib.ExitStack, here: Address, there: Address | None = None
    ) -> _Endpoint:
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_datagram_endpoint(
                lambda: _Endpoint(self._take, self._refused), here, there
            )
        except OSError as exc:
            raise AdapterError(f"cannot take the UDP port {here}: {exc.strerror or exc}") from exc
        opened.callback(made.transport.close)
        return made

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._begun = loop.time()
        if self._call is not None:
            self._send(self._call.start(self._begun))
        while not self._is_over():
            due = min(each.next for each in (self._call, self._gateway) if each is not None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if due == float("inf") else due):
                    await self._news.wait()
            self._news.clear()
            if self._refused.is_set() and self._call is not None and self._call.state is State.CALLING:
                raise NobodyListens(f"nobody listens at udp:{self._plan.server}")
            now = loop.time()
            if self._call is not None:
                self._send(self._call.tick(now))
            if self._gateway is not None:
                for back in self._gateway.tick(now):
                    self._back(back.message, back.to)

    def _is_over(self) -> bool:
        return self._call is not None and self._call.state is State.OVER

    async def _hang_up(self) -> None:
        """End the call after Ctrl-C, as far as that goes without a wait."""
        if self._call is not None:
            self._send(self._call.hang_up(asyncio.get_running_loop().time()))
            await asyncio.sleep(0)

    def _take(self, endpoint: _Endpoint, message: Message, source: Address) -> None:
        now = asyncio.get_running_loop().time()
        self._news.set()
        if endpoint is self._at_gateway:
            assert self._gateway is not None
            if message.code:
                return
            if not self._is_ours(source):  # else it was told when it was sent
                self._step(Party.PROXY, Party.GATEWAY, message)
            for back in self._gateway.received(message, source, now):
                self._back(back.message, back.to)
        elif self._call is not None and message.get("call-id") == self._played.call_id:
            direct = self._at_gateway is not None and source == self._at_gateway.address
            if not direct:
                self._step(Party.PROXY, Party.CALLER, message)
            self._reply(endpoint, source, self._call.received(message, now))
            if self._call.final is not None and self._played.final is None:
                self._played.final = self._call.final
                self._played.seconds = now - self._begun
                self._played.in_time = self._played.seconds <= self._plan.timeout

    def _reply(self, endpoint: _Endpoint, source: Address, sent: list[Out]) -> None:
        """Send responses back to where their request came from, all else on its own way."""
        for out in sent:
            if out.message.code:
                self._step(Party.CALLER, self._party(source), out.message)
                endpoint.transport.sendto(
                    out.message.encode(), None if endpoint is self._line else tuple(source)
                )
        self._send([out for out in sent if not out.message.code])

    def _send(self, sent: list[Out]) -> None:
        for out in sent:
            target = self._plan.server if out.first_hop else _target(out.message)
            self._step(Party.CALLER, self._party(target), out.message)
            if out.first_hop:
                self._line.transport.sendto(out.message.encode())
            else:
                self._dialog.transport.sendto(out.message.encode(), tuple(target))

    def _back(self, message: Message, to: Address) -> None:
        assert self._at_gateway is not None
        self._step(Party.GATEWAY, Party.CALLER if self._is_ours(to) else Party.PROXY, message)
        self._at_gateway.transport.sendto(message.encode(), tuple(to))

    def _party(self, address: Address) -> Party:
        at_gateway = self._at_gateway is not None and address == self._at_gateway.address
        return Party.GATEWAY if at_gateway else Party.PROXY

    def _is_ours(self, address: Address) -> bool:
        return self._call is not None and address in (self._line.address, self._dialog.address)

    def _step(self, sender: Party, receiver: Party, message: Message) -> None:
        if self._call is not None and message.get("call-id") != self._played.call_id:
            return  # a call of somebody else's at our gateway
        step = Step(asyncio.get_running_loop().time() - self._begun, sender, receiver, message)
        if self._call is not None:
            self._played.steps.append(step)
        self._tell(step)


def _uri(name: str, address: Address) -> str:
    if name.startswith(("sip:", "sips:")):
        return name
    return f"sip:{name}" if "@" in name else f"sip:{name}@{address}"


def _target(request: Message) -> Address:
    """Where a request in a dialog goes: its first Route, else its URI."""
    routes = values(request.all("route"))
    found = _HOST.match(uri_of(routes[0]) if routes else request.uri)
    if found is None:
        raise AdapterError(f"no SIP address to send to: {request.uri}")
    return Address(found[1].strip("[]"), int(found[2] or PORT))


def _description(host: str) -> str:
    return DESCRIPTION.format(host=host, kind="IP6" if ":" in host else "IP4")


async def _own_address(server: Address) -> str:
    """Return the address of this machine from which ``server`` is reached."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
        with socket.socket(found[0][0], socket.SOCK_DGRAM) as probe:
            probe.connect(found[0][4])
            return str(probe.getsockname()[0])
    except OSError as exc:
        raise AdapterError(f"{server} cannot be reached: {exc.strerror or exc}") from exc


async def play(plan: Plan, tell: Callable[[Step], None]) -> Played:
    """Carry out a plan. See `Player.play`."""
    return await Player(plan, tell).play()

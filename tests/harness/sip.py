"""SIP over UDP, as much as tests need: a caller that can misbehave, and a gateway that answers calls."""

from __future__ import annotations

import asyncio
import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapter.sip.message import Message as Message

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 10.0
_numbers = itertools.count(1)


class _Endpoint(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    @property
    def port(self) -> int:
        port: int = self.transport.get_extra_info("sockname")[1]
        return port

    def close(self) -> None:
        self.transport.close()


@dataclass
class Call:
    """One INVITE (or other request) of a `Caller`, and every response to it."""

    caller: Caller
    method: str
    user: str
    call_id: str
    extra: str
    branch: str
    body: str = ""
    from_header: str = "<sip:alice@caller.test>;tag=from-1"
    responses: list[Message] = field(default_factory=list)
    requests: list[Message] = field(default_factory=list)
    """What came within the dialog; each was answered with 200."""
    answers: bool = True
    """Without it what comes within the dialog has no response."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self) -> None:
        """Send the request, or retransmit it: byte for byte the same."""
        self._request(self.method, self.branch)

    def cancel(self) -> None:
        """Send a CANCEL for it."""
        self._request("CANCEL", self.branch, extra="", body="")

    async def response(self, code: int, within: float = TIMEOUT) -> Message:
        """Wait for a response to the request itself with this code."""
        return await self._wait(lambda found: found.code == code, within)

    async def final(self, within: float = TIMEOUT) -> Message:
        """Wait for the final response to the request itself. One to an INVITE is acknowledged."""
        return await self._wait(lambda found: found.code >= 200, within)

    async def _wait(
        self, wanted: Callable[[Message], bool], within: float, method: str | None = None
    ) -> Message:
        async with asyncio.timeout(within):
            while True:
                for found in self.responses:
                    if found.method == (method or self.method) and wanted(found):
                        return found
                self._news.clear()
                await self._news.wait()

    async def bye(self) -> Message:
        """End the call that was answered; the response to the BYE."""
        answer = await self.response(200)
        self._in_dialog(answer, "BYE", 2, f"z9hG4bK-bye-{self.call_id}")
        return await self._wait(lambda found: found.code >= 200, TIMEOUT, "BYE")

    async def again(self, headers: str = "") -> Message:
        """INVITE once more within the call that was answered, as to hold it; the final response."""
        answer = await self.response(200)
        branch = f"z9hG4bK-again-{self.call_id}"
        self._in_dialog(answer, "INVITE", 2, branch, headers)
        wanted = lambda found: found.code >= 200 and found.get("cseq").startswith("2 ")  # noqa: E731
        final = await self._wait(wanted, TIMEOUT)
        self._in_dialog(answer, "ACK", 2, branch if final.code >= 300 else f"{branch}-ack")
        return final

    async def ended(self, within: float = TIMEOUT) -> None:
        """Wait until the other side has ended the call."""
        async with asyncio.timeout(within):
            while not self.byes:
                self._news.clear()
                await self._news.wait()

    @property
    def byes(self) -> int:
        """How many BYEs came."""
        return sum(request.method == "BYE" for request in self.requests)

    def asked(self, request: Message) -> None:
        """A request has come within the dialog."""
        self.requests.append(request)
        self._news.set()
        if not self.answers:
            return
        copied = ("via", "record-route", "from", "to", "call-id", "cseq")
        lines = [f"{name}: {value}" for name, value in request.headers if name in copied]
        self.caller.transmit("\r\n".join(["SIP/2.0 200 OK", *lines, "Content-Length: 0", "", ""]))

    def took(self, response: Message) -> None:
        """A response has come."""
        self.responses.append(response)
        self._news.set()
        first = response.get("cseq") == "1 INVITE"
        if self.method == "INVITE" and first and response.code >= 200:
            if response.code >= 300:
                self._request("ACK", self.branch, extra="", body="", to=response.get("to"))
            else:
                self._in_dialog(response, "ACK", 1, f"z9hG4bK-ack-{self.call_id}")

    def _request(
        self, method: str, branch: str, *, extra: str | None = None, body: str | None = None, to: str = ""
    ) -> None:
        uri = f"sip:{self.user}@127.0.0.1:{self.caller.server}"
        text = self.body if body is None else body
        self.caller.transmit(
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.caller.port};branch={branch}\r\n"
            f"Max-Forwards: 70\r\nFrom: {self.from_header}\r\nTo: {to or f'<{uri}>'}\r\n"
            f"Call-ID: {self.call_id}\r\nCSeq: 1 {method}\r\n"
            f"Contact: <sip:alice@127.0.0.1:{self.caller.port}>\r\n"
            f"{self.extra if extra is None else extra}Content-Length: {len(text.encode())}\r\n\r\n{text}"
        )

    def _in_dialog(self, answer: Message, method: str, cseq: int, branch: str, headers: str = "") -> None:
        target = answer.get("contact").strip("<>")
        routes = "".join(f"Route: {route}\r\n" for route in reversed(answer.all("record-route")))
        self.caller.transmit(
            f"{method} {target} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.caller.port};branch={branch}\r\n"
            f"Max-Forwards: 70\r\n{routes}From: {self.from_header}\r\nTo: {answer.get('to')}\r\n"
            f"Call-ID: {self.call_id}\r\nCSeq: {cseq} {method}\r\n{headers}Content-Length: 0\r\n\r\n"
        )


class Caller(_Endpoint):
    """Sends calls to the SIP server on 127.0.0.1:``server``."""

    def __init__(self, server: int) -> None:
        self.server = server
        self._calls: dict[str, list[Call]] = {}

    @classmethod
    async def open(cls, server: int) -> Caller:
        """Bind a port of its own."""
        loop = asyncio.get_running_loop()
        return (await loop.create_datagram_endpoint(lambda: cls(server), ("127.0.0.1", 0)))[1]

    def call(
        self,
        user: str = "4420",
        *,
        method: str = "INVITE",
        headers: str = "",
        body: str = "",
        call_id: str = "",
        name: str = "alice",
    ) -> Call:
        """Send a request and return at once.

        Args:
            headers: whole lines, each ended by CRLF.
            call_id: that of another call, of which this is a fork: the branch alone differs.
            name: of who calls.
        """
        own = f"{next(_numbers)}-{os.urandom(4).hex()}"
        branch = f"z9hG4bK-{own}"
        made = Call(self, method, user, call_id or f"{own}@caller.test", headers, branch, body)
        made.from_header = f"<sip:{name}@caller.test>;tag=from-1"
        self._calls.setdefault(made.call_id, []).append(made)
        made.send()
        return made

    def transmit(self, text: str) -> None:
        """Send one datagram to the server."""
        self.transport.sendto(text.encode("utf-8", "surrogateescape"), ("127.0.0.1", self.server))

    def datagram_received(self, data: bytes, addr: object) -> None:
        message = Message.parse(data)
        calls = self._calls.get(message.get("call-id"), [])
        if calls and not message.code:
            calls[0].asked(message)
        elif message.code:
            via = message.get("via")
            for call in [one for one in calls if one.branch in via] or calls[:1]:
                call.took(message)

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Gateway(_Endpoint):
    """Answers INVITE with 180 and ``code`` (0: rings until CANCEL), everything else but ACK with 200.

    ``deaf``: so many INVITEs are taken without any answer, as if they had been lost. ``codes``: with what it
    answers other methods instead. ``contact``: its address, if it does not tell its own.
    """

    def __init__(self, code: int = 200, deaf: int = 0) -> None:
        self.code = code
        self.deaf = deaf
        self.codes: dict[str, int] = {}
        self.contact = ""
        self.requests: list[Message] = []
        self._peer = ("127.0.0.1", 0)

    @classmethod
    async def open(cls, code: int = 200, *, port: int = 0, deaf: int = 0) -> Gateway:
        """Bind ``port``, or one that is free."""
        loop = asyncio.get_running_loop()
        return (await loop.create_datagram_endpoint(lambda: cls(code, deaf), ("127.0.0.1", port)))[1]

    def of(self, method: str) -> list[Message]:
        """The requests of a method that came, in order."""
        return [request for request in self.requests if request.first.startswith(method + " ")]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = Message.parse(data)
        if request.code:
            return  # to its own BYE
        self.requests.append(request)
        self._peer = addr
        if request.method == "INVITE":
            self._answer_invite(request, addr)
        elif request.method != "ACK":
            self._reply(request, self.codes.get(request.method, 200), addr)
        if request.method == "CANCEL":
            self._reply(self.of("INVITE")[-1], 487, addr)

    def answer(self, code: int) -> None:
        """Answer the INVITE that came last with a final response."""
        self._reply(self.of("INVITE")[-1], code, self._peer)

    def bye(self, server: int) -> None:
        """End the call that was answered last, by way of the SIP server on 127.0.0.1:``server``."""
        invite = self.of("INVITE")[-1]
        routes = "".join(f"Route: {route}\r\n" for route in invite.all("record-route"))
        text = (
            f"BYE {invite.get('contact').strip('<>')} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK-bye-{next(_numbers)}\r\n"
            f"Max-Forwards: 70\r\n{routes}"
            f"From: {invite.get('to')};tag=gateway\r\nTo: {invite.get('from')}\r\n"
            f"Call-ID: {invite.get('call-id')}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
        )
        self.transport.sendto(text.encode("utf-8", "surrogateescape"), ("127.0.0.1", server))

    def _answer_invite(self, request: Message, addr: tuple[str, int]) -> None:
        if len(self.of("INVITE")) <= self.deaf:
            return
        self._reply(request, 180, addr)
        if self.code:
            self._reply(request, self.code, addr)

    def _reply(self, request: Message, code: int, addr: tuple[str, int]) -> None:
        copied = ("via", "record-route", "from", "call-id", "cseq")
        lines = [f"{name}: {value}" for name, value in request.headers if name in copied]
        tag = "" if ";tag=" in request.get("to") else ";tag=gateway"
        contact = self.contact or f"sip:gateway@127.0.0.1:{self.port}"
        lines += [f"To: {request.get('to')}{tag}", f"Contact: <{contact}>"]
        text = "\r\n".join([f"SIP/2.0 {code} Answer", *lines, "Content-Length: 0", "", ""])
        self.transport.sendto(text.encode("utf-8", "surrogateescape"), addr)

    async def __aenter__(self) -> Gateway:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

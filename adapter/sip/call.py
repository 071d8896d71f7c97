"""One outgoing call as a machine without I/O: messages and the time go in, messages come out.

::

    CALLING    INVITE is sent, and sent again until anything answers
    RINGING    a provisional response came: nothing is sent again
    CANCELLING the time is over: CANCEL is sent, the final response is waited for
    ANSWERED   2xx: ACK is sent, for each 2xx; BYE follows when the call was held long enough
    ENDING     BYE is sent, and sent again until it is answered
    OVER       nothing more will be sent
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from adapter.sip.message import VERSION, Message, response, values

if TYPE_CHECKING:
    from collections.abc import Sequence

T1: Final = 0.5
"""Seconds until a request is sent again for the first time (RFC 3261, 17.1.1.1)."""
T2: Final = 4.0
"""Seconds at most between two sendings."""
PATIENCE: Final = 3.0
"""Seconds that are waited for the response to CANCEL and BYE."""
FOREVER: Final = float("inf")


class State(Enum):
    """How far a call is: see the head of this module."""

    CALLING = "calling"
    RINGING = "ringing"
    CANCELLING = "cancelling"
    ANSWERED = "answered"
    ENDING = "ending"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Out:
    """A message to send. ``first_hop``: to the server, as INVITE; else to where its Route or URI leads."""

    message: Message
    first_hop: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """The call to make.

    Attributes:
        uri: the request URI.
        caller: the From URI.
        call_id: the Call-ID.
        via: ``host:port`` at which responses from the server are awaited.
        contact: ``host:port`` at which requests in the dialog, and responses to ours, are awaited.
        headers: more headers of the INVITE.
        body: its session description.
        timeout: seconds to the final response; then the call is cancelled.
        hold: seconds between the answer and BYE.
    """

    uri: str
    caller: str
    call_id: str
    via: str
    contact: str
    headers: Sequence[tuple[str, str]] = ()
    body: str = ""
    timeout: float = 10.0
    hold: float = 0.0


@dataclass(slots=True)
class Call:
    """One call. ``next``: when `tick` is due, in seconds of the caller's clock."""

    wanted: Wanted
    state: State = State.CALLING
    final: Message | None = None
    """The final response to the INVITE."""
    answered_at: float = 0.0
    next: float = 0.0
    _begun: float = 0.0
    _over_by: float = FOREVER
    _pause: float = T1
    _sending: Out | None = None
    _dialog: Message | None = field(default=None, repr=False)
    """The 2xx that made the dialog."""

    def start(self, now: float) -> list[Out]:
        """Send the INVITE."""
        self._begun = now
        self._over_by = now + self.wanted.timeout
        return self._send(self._first("INVITE"), now)

    def received(self, message: Message, now: float) -> list[Out]:
        """Take a message of this call; what must be sent for it."""
        if not message.code:
            return self._asked(message, now)
        if message.method == "INVITE":
            return self._replied(message, now)
        if message.method == "BYE" and message.code >= 200:
            self._end()
        return []

    def tick(self, now: float) -> list[Out]:
        """Do what the time demands."""
        if now >= self._over_by:
            return self._late(now)
        if self._sending is not None and now >= self.next:
            self._pause = min(self._pause * 2, T2 if self.state is State.ENDING else FOREVER)
            self.next = min(now + self._pause, self._over_by)
            return [self._sending]
        return []

    def hang_up(self, now: float) -> list[Out]:
        """End the call whatever its state: by CANCEL, by BYE, or by sending no more."""
        if self.state is State.ANSWERED:
            return self._bye(now)
        if self.state is State.RINGING:
            return self._cancel(now)
        if self.state is State.CALLING:
            self._end()
        return []

    def _late(self, now: float) -> list[Out]:
        if self.state is State.ANSWERED:
            return self._bye(now)
        if self.state is State.RINGING:
            return self._cancel(now)
        self._end()
        return []

    def _replied(self, message: Message, now: float) -> list[Out]:
        if message.code < 200:
            if self.state is State.CALLING:
                self._rest(State.RINGING, self._over_by)
            return []
        if message.code < 300:
            # RFC 3261, 13.2.2.4: each 2xx that comes, again or from another branch, is acknowledged.
            ack = Out(self._within(message, "ACK", 1), first_hop=False)
            if self.final is not None:
                return [ack]
            self.final = self._dialog = message
            self.answered_at = now
            # One that crosses our CANCEL has made a call, too, which BYE alone ends.
            ends = self.wanted.hold <= 0 or self.state is State.CANCELLING
            self._rest(State.ANSWERED, now + self.wanted.hold)
            return [ack, *(self._bye(now) if ends else [])]
        ack = Out(self._first("ACK", to=message.get("to")), first_hop=True)
        if self.final is None:
            self.final = message
            self.answered_at = now
            self._end()
        return [ack]

    def _asked(self, request: Message, now: float) -> list[Out]:
        """Answer a request of the other side: BYE ends the call, all else is fine by us."""
        if request.method == "ACK":
            return []
        if request.method == "BYE" and self.state in (State.ANSWERED, State.ENDING):
            self._end()
        return [Out(response(request, 200, "OK", "caller"), first_hop=False)]

    def _cancel(self, now: float) -> list[Out]:
        self._rest(State.CANCELLING, now + PATIENCE)
        return self._send(self._first("CANCEL"), now)

    def _bye(self, now: float) -> list[Out]:
        assert self._dialog is not None
        self._rest(State.ENDING, now + PATIENCE)
        return self._send(Out(self._within(self._dialog, "BYE", 2), first_hop=False), now)

    def _send(self, sent: Out | Message, now: float) -> list[Out]:
        out = sent if isinstance(sent, Out) else Out(sent, first_hop=True)
        self._sending, self._pause = out, T1
        self.next = now + T1
        return [out]

    def _rest(self, state: State, over_by: float) -> None:
        self.state, self._sending = state, None
        self._over_by = self.next = over_by

    def _end(self) -> None:
        self._rest(State.OVER, FOREVER)

    def _first(self, method: str, to: str = "") -> Message:
        """Make the INVITE, or what belongs to its transaction: CANCEL, and ACK of a refusal."""
        wanted = self.wanted
        invite = method == "INVITE"
        headers = [
            ("via", f"{VERSION}/UDP {wanted.via};branch=z9hG4bK-{wanted.call_id}-1"),
            ("max-forwards", "70"),
            ("from", f"<{wanted.caller}>;tag=caller"),
            ("to", to or f"<{wanted.uri}>"),
            ("call-id", wanted.call_id),
            ("cseq", f"1 {method}"),
        ]
        if invite:
            headers += [("contact", f"<sip:{wanted.contact}>"), ("user-agent", "evapi-adapter")]
            headers += [*wanted.headers, ("content-type", "application/sdp")]
        return Message(f"{method} {wanted.uri} {VERSION}", tuple(headers), self.wanted.body if invite else "")

    def _within(self, answer: Message, method: str, number: int) -> Message:
        """Make a request in the dialog of a 2xx (RFC 3261, 12.2.1.1; every router is a loose one)."""
        wanted = self.wanted
        routes = [("route", each) for each in reversed(values(answer.all("record-route")))]
        return Message(
            f"{method} {answer.contact or wanted.uri} {VERSION}",
            (
                ("via", f"{VERSION}/UDP {wanted.contact};branch=z9hG4bK-{wanted.call_id}-{method.lower()}"),
                ("max-forwards", "70"),
                *routes,
                ("from", f"<{wanted.caller}>;tag=caller"),
                ("to", answer.get("to")),
                ("call-id", wanted.call_id),
                ("cseq", f"{number} {method}"),
            ),
        )

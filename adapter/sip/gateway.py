"""The gateway that answers calls, as a machine without I/O: it rings, answers, and is hung up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from adapter.sip.call import T1, T2
from adapter.sip.message import Message, response

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.address import Address

LONGEST: Final = 64 * T1
"""Seconds for which an answer is sent again until ACK comes (RFC 3261, 13.3.1.4)."""
REASONS: Final = {
    180: "Ringing",
    200: "OK",
    302: "Moved Temporarily",
    403: "Forbidden",
    404: "Not Found",
    480: "Temporarily Unavailable",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    500: "Server Internal Error",
    503: "Service Unavailable",
    603: "Decline",
}


@dataclass(frozen=True, slots=True)
class Back:
    """A response to send to ``to``: where its request came from."""

    message: Message
    to: Address


@dataclass(slots=True)
class _Leg:
    """One call that came in."""

    invite: Message
    source: Address
    last: Message
    due: float
    """When it is answered or, once it is, when the answer is sent again."""
    answered: float | None = None
    pause: float = T1


@dataclass(slots=True)
class Gateway:
    """Answers each INVITE with 180 and, ``ring`` seconds later, with ``code``; all else with 200.

    Attributes:
        contact: ``host:port`` at which it listens.
        code: the final response to INVITE.
        ring: seconds between 180 and the final response.
        body: the session description of a 200.
    """

    contact: str
    code: int = 200
    ring: float = 0.0
    body: str = ""
    _legs: dict[tuple[str, str], _Leg] = field(default_factory=dict)

    @property
    def next(self) -> float:
        """When `tick` is due."""
        return min((leg.due for leg in self._legs.values()), default=float("inf"))

    def received(self, request: Message, source: Address, now: float) -> list[Back]:
        """Take a request; what is to be sent for it."""
        if request.code:
            return []
        key = (request.get("call-id"), request.branch)
        if request.method == "INVITE":
            return self._called(key, request, source, now)
        if request.method == "ACK":
            self._forget(lambda leg: leg.answered is not None, request.get("call-id"))
            return []
        told = [Back(self._reply(request, 200), source)]
        leg = self._legs.get(key)
        if request.method == "CANCEL" and leg is not None and leg.answered is None:
            leg.last, leg.answered, leg.due = self._reply(leg.invite, 487), now, now + T1
            told.append(Back(leg.last, leg.source))
        return told

    def tick(self, now: float) -> list[Back]:
        """Answer whoever has heard it ring for long enough, and send again what nobody acknowledged."""
        told: list[Back] = []
        for key, leg in list(self._legs.items()):
            if now < leg.due:
                continue
            if leg.answered is None:
                told += self._answer(leg, now)
            elif now > leg.answered + LONGEST:
                del self._legs[key]
            else:
                leg.pause = min(leg.pause * 2, T2)
                leg.due = now + leg.pause
                told.append(Back(leg.last, leg.source))
        return told

    def _called(self, key: tuple[str, str], invite: Message, source: Address, now: float) -> list[Back]:
        leg = self._legs.get(key)
        if leg is not None:  # sent again, since our response was lost
            return [Back(leg.last, source)]
        leg = self._legs[key] = _Leg(invite, source, self._reply(invite, 180), now + self.ring)
        return [Back(leg.last, source), *(self._answer(leg, now) if self.ring <= 0 else [])]

    def _answer(self, leg: _Leg, now: float) -> list[Back]:
        leg.last, leg.answered, leg.due = self._reply(leg.invite, self.code), now, now + T1
        return [Back(leg.last, leg.source)]

    def _forget(self, done: Callable[[_Leg], bool], call_id: str) -> None:
        self._legs = {key: leg for key, leg in self._legs.items() if key[0] != call_id or not done(leg)}

    def _reply(self, request: Message, code: int) -> Message:
        described = code == 200 and request.method == "INVITE"
        extra = [("contact", f"<sip:{self.contact}>")]
        if described:
            extra.append(("content-type", "application/sdp"))
        reason = REASONS.get(code, "Answer")
        return response(request, code, reason, "gateway", *extra, body=self.body if described else "")

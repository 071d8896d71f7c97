"""What is answered to a request that came to one service alone, and that it leaves undecided.

By ``evapi.events`` a request comes to every service that is bound to its event, and one that sends nothing
leaves it to the others. A request that a policy sends straight to the queue of a service is nobody else's:
without a reply its call waits for the deadline, and the service counts as silent.
"""

from __future__ import annotations

import logging
from typing import Final

from adapter.contract import (
    HEADER_DETAIL,
    HEADER_SERVICE,
    HEADER_STATUS,
    STATUS_FAILED,
    STATUS_NONE,
    encode_reply,
)
from consumers.messages import Answer, Result, UnknownEvent

_log = logging.getLogger("consumers")

TOLD: Final = 1_000
"""Events that are told of: their names come from peers."""


class Alone:
    """Answers for one service. ``why``: what it said last of a request that it has no handler for."""

    def __init__(self, service: str) -> None:
        self.why = ""
        self._service = service
        self._told: set[str] = set()

    def answer(self, answer: Answer) -> Answer:
        """Return what to send in place of ``answer``; itself if there is nothing to be sent.

        Without a handler of its event the request has failed. A handler that has no say says so.
        """
        if answer.result is Result.UNHANDLED and isinstance(answer.error, UnknownEvent):
            event = answer.error.event
            self.why = f"no handler for {event} in {self._service}"
            self._tell(event, answer.correlation_id)
            if answer.correlation_id is not None:
                body = encode_reply({"error": type(answer.error).__name__})
                headers = {
                    HEADER_SERVICE: self._service,
                    HEADER_STATUS: STATUS_FAILED,
                    HEADER_DETAIL: self.why,
                }
                return Answer(answer.result, answer.correlation_id, body, headers=headers, error=answer.error)
        elif answer.result is Result.SILENT:
            headers = {HEADER_SERVICE: self._service, HEADER_STATUS: STATUS_NONE}
            return Answer(answer.result, answer.correlation_id, b"", None, headers)
        return answer

    def _tell(self, event: str, correlation_id: str | None) -> None:
        """Log it, once for each event."""
        if event not in self._told and len(self._told) < TOLD:
            self._told.add(event)
            _log.error(
                "%s: no handler of %r, and it alone was asked: its calls fail. Give %s a handler of the "
                "event, or take it out of the policy's lists for that event (services, backup, observers, "
                "shadows)",
                *(self._service, event, self._service),
                extra={"service": self._service, "correlation_id": correlation_id},
            )

"""What becomes of a request: the answer to it, counted, and told in the log if something is wrong."""

from __future__ import annotations

import logging
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from adapter.contract import (
    HEADER_CACHE,
    HEADER_DETAIL,
    HEADER_SERVICE,
    HEADER_STATUS,
    MSGPACK,
    STATUS_FAILED,
    Request,
    encode_reply,
)
from consumers.decisions import NO_ANSWER, Cached, DecisionError, Failed, described
from consumers.messages import Answer, Result, UnknownEvent, about, told

if TYPE_CHECKING:
    from consumers.messages import Incoming

_OTHERS: Final = (str(Path(__file__).parent), sysconfig.get_path("stdlib"))
"""Folders whose code is not a handler's."""
_log = logging.getLogger("consumers")

_CLOCKS_HINT_EVERY: Final = 5.0
_REFUSED_EACH: Final = 1.0


class Answers:
    """Of one service, one for each ``Result``. None of them raises.

    Args:
        name: of the service.
        clock: gives epoch seconds.

    Attributes:
        counts: how many requests had which result.
        last_failure: when a request failed last, by the monotonic clock, and why: the type and the place,
            unless it is foreseen.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name = name
        self._clock = clock
        self._headers: Mapping[str, str | int] = MappingProxyType({HEADER_SERVICE: name})
        self._hinted = self._refused_at = float("-inf")
        self.counts: Counter[Result] = Counter()
        self.last_failure: tuple[float, str] | None = None

    def decided(self, message: Incoming, request: Request, found: Any) -> Answer:
        """The handler has returned: a decision, that it has no say, or what is no decision."""
        if message.correlation_id is None:
            return self._count(Answer(Result.NOTED))
        if found is NO_ANSWER:
            return self._count(Answer(Result.SILENT, message.correlation_id))
        headers = self._headers
        try:
            if type(found) is not dict:
                if not isinstance(found, Mapping):
                    raise DecisionError(f"a decision is a map, not {described(found)}")
                if isinstance(found, Cached):
                    headers = {**headers, HEADER_CACHE: found.seconds}
            for key in found:
                if type(key) is not str:
                    raise DecisionError("a decision's keys are strings")
            body = encode_reply(found)
        except Exception as exc:
            return self.failed(message, request, exc)
        return self._count(Answer(Result.DECIDED, message.correlation_id, body, MSGPACK, headers))

    def failed(self, message: Incoming, request: Request, error: BaseException) -> Answer:
        """The handler has raised, or has given what cannot be sent."""
        foreseen = isinstance(error, Failed)
        where = "" if foreseen else _where(error, request)
        why = f": {error.about}{error}" if isinstance(error, Failed) else ""
        named = (self._name, request.event, told(message), why)
        fields = about(self._name, message)
        self.last_failure = time.monotonic(), f"{request.event}: {type(error).__name__}{why}{where}"
        _log.error("%s: %s failed: %s%s", *named, exc_info=None if foreseen else error, extra=fields)
        if message.correlation_id is None:
            return self._count(Answer(Result.FAILED, error=error))
        # The type and the place only: what the error says may be about other people's calls.
        body = encode_reply({"error": type(error).__name__})
        detail = str(error) if foreseen else f"{type(error).__name__}{where}"
        headers = {**self._headers, HEADER_STATUS: STATUS_FAILED, HEADER_DETAIL: detail}
        return self._count(Answer(Result.FAILED, message.correlation_id, body, MSGPACK, headers, error))

    def rejected(self, message: Incoming, error: Exception) -> Answer:
        """The message is no request."""
        named = (self._name, told(message), error)
        _log.error("%s: not a request, to the dead letters: %s: %s", *named, extra=about(self._name, message))
        return self._count(Answer(Result.REJECTED, message.correlation_id, error=error))

    def expired(self, message: Incoming, left: float, takes: float = 0.0) -> Answer:
        """The request is not handled: ``left`` seconds are too few, where the handler takes ``takes``."""
        now = self._clock()
        if now - self._hinted >= _CLOCKS_HINT_EVERY:  # under overload this is every request
            self._hinted = now
            _log.warning(
                "%s: dropped, with %.3f s left where the handler takes %.3f s (overload, or clocks that "
                "differ?): %s; %d so far",
                *(self._name, left, takes, told(message), self.counts[Result.EXPIRED] + 1),
                extra=about(self._name, message),
            )
        return self._count(Answer(Result.EXPIRED, message.correlation_id))

    def late(self, message: Incoming, request: Request) -> Answer:
        """The handler was cancelled at the request's deadline."""
        named = (self._name, request.event, told(message))
        _log.warning("%s: %s cancelled at its deadline: %s", *named, extra=about(self._name, message))
        return self._count(Answer(Result.LATE, message.correlation_id))

    def refused(self, message: Incoming, user: str | None) -> Answer:
        """The message is from somebody whose requests are not taken: ``user`` of RabbitMQ."""
        now = self._clock()
        if now - self._refused_at >= _REFUSED_EACH:  # there may be as many as somebody likes
            self._refused_at = now
            _log.warning(
                "%s: refused, to the dead letters: a request by %s, whose requests are not taken "
                "(EVAPI_REQUESTS_FROM): %s; %d so far",
                *(self._name, user or "nobody known", told(message), self.counts[Result.REFUSED] + 1),
                extra=about(self._name, message),
            )
        return self._count(Answer(Result.REFUSED, message.correlation_id))

    def unhandled(self, message: Incoming, event: str) -> Answer:
        """No say: a service whose event has moved must not end the calls that another decides."""
        error = UnknownEvent(self._name, event)
        return self._count(Answer(Result.UNHANDLED, message.correlation_id, error=error))

    def _count(self, answer: Answer) -> Answer:
        self.counts[answer.result] += 1
        return answer


def _where(error: BaseException, request: Request) -> str:
    """Where a handler raised, in code that is neither a library's nor ours; and data that are no map."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_OTHERS) and "site-packages" not in file and not file.startswith("<"):
            place = f" at {Path(file).name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    if isinstance(request.data, bytes):
        place += f"; its data are no JSON object, but {len(request.data)} bytes"
    return place

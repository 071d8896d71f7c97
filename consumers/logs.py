"""The log of ``python -m consumers``: as the adapter's, and each line about a request names it."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from adapter.contract import Request
    from consumers.handlers import Bound
    from consumers.service import Service

LEVELS: Final = ("debug", "info", "warning", "error")
FORMS: Final = ("json", "console")

_asked: ContextVar[tuple[str, Request] | None] = ContextVar("asked", default=None)
"""Which service is at which request, where a handler runs."""


def set_up(words: str) -> None:
    """Log to stderr, for people on a terminal, else as JSON lines.

    Args:
        words: ``json`` or ``console``, and a level, in any order.

    Raises:
        ValueError: one of the words is none of these.
    """
    from adapter.runtime import logs  # here, so that `import consumers` needs no structlog

    found = [word.lower() for word in re.split(r"[,: ]+", words) if word]
    for word in found:
        if word not in (*FORMS, *LEVELS):
            raise ValueError(f"{word!r} is none of {', '.join((*FORMS, *LEVELS))}")
    level = next((word for word in found if word in LEVELS), "info")
    form = next((word for word in found if word in FORMS), None)
    logs.configure(form, level, others=level, more=[_about_request])


def tell_requests(service: Service) -> None:
    """Let the lines that its handlers log name the service and the request."""
    name = service.name

    def around(_: str, is_async: bool, call: Bound) -> Bound:
        def later(request: Request) -> Any:
            _asked.set((name, request))  # for the task, whose context ends with it
            return call(request)

        def at_once(request: Request) -> Any:
            token = _asked.set((name, request))
            try:
                return call(request)
            finally:
                _asked.reset(token)

        return later if is_async else at_once

    service.wrap(around)


def _about_request(_: Any, __: str, entry: EventDict) -> EventDict:
    asked = _asked.get()
    if asked is not None:
        name, request = asked
        entry.setdefault("service", name)
        if request.correlation_id is not None:
            entry.setdefault("correlation_id", request.correlation_id)
        if request.call_id is not None:
            entry.setdefault("call_id", request.call_id)
    return entry

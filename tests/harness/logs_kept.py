"""Logging is global to a process: each test leaves it as it was."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARIES: Final = ("aio_pika", "aiormq")
"""Whose own level the adapter sets."""


@contextlib.contextmanager
def logs_kept() -> Iterator[None]:
    """Put logging back if it was set up within, as a command does that runs in this process."""
    root, libraries = logging.getLogger(), [logging.getLogger(name) for name in LIBRARIES]
    handlers, level, levels = root.handlers[:], root.level, [each.level for each in libraries]
    configured = structlog.is_configured()
    try:
        yield
    finally:
        if structlog.is_configured() and not configured:
            structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        root.handlers[:] = handlers
        root.setLevel(level)
        for each, was in zip(libraries, levels, strict=True):
            each.setLevel(was)

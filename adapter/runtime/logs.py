"""Structured logs on stderr: for people on a terminal, as JSON lines elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from adapter.terminal import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import EventDict, Processor


def configure(form: str | None, level: str, others: str = "warning", more: Sequence[Processor] = ()) -> None:
    """Set up structlog, and the standard library's logging through it.

    Args:
        form: ``json``, ``console``, or ``None`` for console on a terminal and JSON elsewhere.
        level: from which lines are written, such as ``info``.
        others: the same for lines of the standard library's logging; ``level``, if that is higher.
        more: processors that see each entry before the form is given to it.
    """
    console = form == "console" or (form is None and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        *more,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: Any = structlog.processors.JSONRenderer(default=repr)
    if console:
        # Plain tracebacks: the pretty ones show local variables, passwords among them.
        plain = structlog.dev.plain_traceback
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        shared += [_lines, _escape]
    numbers = logging.getLevelNamesMapping()
    number = numbers[level.upper()]
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line is one write
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, numbers[others.upper()]), force=True)
    # What these two report of a lost connection, the broker reports once itself.
    if numbers[others.upper()] > logging.DEBUG:
        for name in ("aio_pika", "aiormq"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _lines(_: Any, __: str, entry: EventDict) -> EventDict:
    """Stacks of threads are for people to read: as lines, below the entry's own."""
    threads = entry.pop("threads", None)
    if isinstance(threads, dict):
        entry["stack"] = "\n".join(f"Thread {name}:\n{''.join(stack)}" for name, stack in threads.items())
    return entry


def _escape(_: Any, __: str, entry: EventDict) -> EventDict:
    """Text from peers must not steer a terminal (JSON escapes it anyway)."""
    for key, value in entry.items():
        if isinstance(value, str):
            entry[key] = escaped(value, lines=True)
    return entry

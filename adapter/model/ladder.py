"""The ladder of a call that several services decide: what may become of each, and what decided. Pure."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What became of asking one service."""

    DECIDED = "decided"
    FAILED = "failed"
    NONE = "none"  # it has no say in the call, and said so
    MALFORMED = "malformed"  # its reply was not understood
    OVERSIZED = "oversized"  # its reply was too long
    TIMEOUT = "timeout"
    UNTAKEN = "untaken"  # nobody took the request from its queue
    UNROUTABLE = "unroutable"  # it has no queue
    UNAVAILABLE = "unavailable"  # its breaker is open, or the broker is away
    EXTENDED = "extended"  # it was given more time


class Rung(StrEnum):
    """What decided a call: the field ``step`` of its resume."""

    SERVICE = "service"
    RETRY = "retry"  # a service that was asked again
    BACKUP = "backup"
    CACHE = "cache"  # a decision that is still good: nobody was asked
    STALE = "stale"  # one that is no longer: nobody decided
    FALLBACK_ON = "fallback_on"
    FALLBACK = "fallback"
    OPERATOR = "operator"

"""A server that is away, in an operator's words: which one, where, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.errors import StoreUnavailable
from adapter.inflight import words

if TYPE_CHECKING:
    from adapter.settings import Settings


def redis_away(settings: Settings, exc: StoreUnavailable) -> StoreUnavailable:
    """The same with where it is, and in an operator's words; as it is if an adapter was asked for Redis."""
    if settings.redis_url is None:
        return exc
    return StoreUnavailable(words.redis_away(settings, str(exc)))

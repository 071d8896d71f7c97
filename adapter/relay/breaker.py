"""Breakers: whether a service that was silent is asked. Pure.

Each replica goes by what it saw itself. A service that is hung costs as many calls their wait as its
policy's ``after`` says; then it is not asked for ``pause`` seconds, and then one call tries it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.relay.plan import Service

IDLE: Final = 60.0
"""Seconds after which a breaker that no call tries is no longer open: another replica is asking by then."""


@dataclass(slots=True)
class _State:
    silences: int = 0
    open_until: float | None = None  # None: it is closed; else from then on one call tries


class Breakers:
    """Those of every service that has one. Times are seconds of any one clock.

    Args:
        told: is told the name of a service, and whether its breaker is open, at each change.
    """

    def __init__(self, told: Callable[[str, bool], None] = lambda _name, _is_open: None) -> None:
        self._told = told
        self._states: dict[str, _State] = {}

    def allows(self, service: Service, now: float, until: float) -> bool:
        """Return True if it may be asked. One call at a time tries a service whose breaker is open.

        Args:
            service: who would be asked.
            now: the time.
            until: when it would no longer be waited for.
        """
        state = None if service.breaker is None else self._states.get(service.name)
        if service.breaker is None or state is None or state.open_until is None:
            return True
        if now < state.open_until:
            return False
        state.open_until = max(now + service.breaker.pause, until)  # the others wait for what comes of it
        return True

    def answered(self, name: str) -> None:
        """It has said something."""
        state = self._states.pop(name, None)
        if state is not None and state.open_until is not None:
            self._told(name, False)

    def silent(self, service: Service, now: float) -> bool:
        """It has let a request pass. Return True if its breaker has opened by that."""
        if service.breaker is None:
            return False
        state = self._states.setdefault(service.name, _State())
        state.silences += 1
        if state.silences < service.breaker.after:
            return False
        opened = state.open_until is None
        state.open_until = now + service.breaker.pause
        if opened:
            self._told(service.name, True)
        return opened

    def purge(self, now: float) -> None:
        """Close those of services that nobody asks any more here: the next silence opens them again."""
        for name, state in self._states.items():
            if state.open_until is not None and now >= state.open_until + IDLE:
                state.open_until = None
                self._told(name, False)

    def is_open(self, name: str) -> bool:
        """Return True if it is not asked, but to try."""
        state = self._states.get(name)
        return state is not None and state.open_until is not None

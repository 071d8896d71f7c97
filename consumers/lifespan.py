"""What a service opens before its first request and closes after its last: pools, clients, tables."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from adapter.errors import AdapterError
from consumers.parameters import SignatureError, evaluated, shown, signature

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("consumers")

_ORIGINS: Final = (AsyncIterator, AsyncGenerator, AbstractAsyncContextManager)
_NOTHING: Final[Mapping[Any, Any]] = {}


class LifespanError(AdapterError):
    """A lifespan could not be opened: the cause is what it raised, the text says so in a line."""


class Lifespans:
    """Those of one service.

    ``made``: what those that are open yielded, by the type that their annotations tell.
    """

    def __init__(self) -> None:
        self.made: dict[Any, Any] = {}
        self._functions: list[tuple[Any, Callable[[], Any]]] = []
        self._stack: AsyncExitStack | None = None
        self._users = 0

    @property
    def kinds(self) -> list[Any]:
        """The types of what they yield."""
        return [kind for kind, _ in self._functions if kind is not None]

    @property
    def are_open(self) -> bool:
        """Whether ``open`` has been called, and ``close`` not since."""
        return self._stack is not None

    def add(self, function: Callable[[], Any]) -> None:
        """Register one.

        Raises:
            SignatureError: it does not say what it yields, or another one yields the same type.
        """
        kind = _yielded(function)
        if kind in self.kinds:
            raise SignatureError(
                f"lifespan {_name(function)}: another one yields {shown(kind)} already; give one of "
                f"the two a type of its own (typing.NewType)"
            )
        self._functions.append((kind, function))

    async def open(self, instead: Mapping[Any, Any] = _NOTHING) -> None:
        """Open all, in the order in which they were registered; once, if several run the service.

        Args:
            instead: values by type. A lifespan that yields such a type is not opened.

        Raises:
            LifespanError: one of them failed. Those before it are closed again.
        """
        self._users += 1
        if self._stack is not None:
            return
        self._stack = AsyncExitStack()
        for kind, function in self._functions:
            try:
                found = kind in instead
                value = instead[kind] if found else await self._stack.enter_async_context(_of(function))
            except Exception as exc:
                await self.close()
                raise LifespanError(
                    f"lifespan {_name(function)} cannot be opened: {type(exc).__name__}: {exc}"
                ) from exc
            if kind is not None:
                self.made[kind] = value

    async def close(self) -> None:
        """Close all, the last one first, as whoever opened them last is gone.

        What fails is logged: the others are closed all the same.
        """
        self._users = max(self._users - 1, 0)
        stack = self._stack
        if stack is None or self._users:
            return
        self._stack = None
        try:
            await stack.aclose()
        except Exception:
            _log.exception("a lifespan could not be closed")
        self.made.clear()


def _of(function: Callable[[], Any]) -> AbstractAsyncContextManager[Any]:
    if inspect.isasyncgenfunction(function):
        return asynccontextmanager(function)()
    found: AbstractAsyncContextManager[Any] = function()
    return found


def _name(function: Any) -> str:
    return getattr(function, "__name__", repr(function))


def _yielded(function: Callable[[], Any]) -> Any:
    """Return the type of what a lifespan yields; ``None`` if that is nothing."""
    try:
        told = evaluated(signature(function).return_annotation, function)
    except Exception as exc:  # whatever its text does
        raise SignatureError(
            f"lifespan {_name(function)}: what it returns cannot be read ({type(exc).__name__}: {exc}): "
            f"define or import the type at the head of the module, outside of `if TYPE_CHECKING`"
        ) from exc
    if get_origin(told) not in _ORIGINS:
        raise SignatureError(
            f"lifespan {_name(function)} does not say what it yields: write `-> AsyncIterator[Pool]`, or "
            f"`-> AsyncIterator[None]` if that is nothing"
        )
    kind = get_args(told)[0]
    return None if kind in (None, type(None)) else kind

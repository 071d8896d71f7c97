"""What many tests share has time of its own: the limit of one test does not end a server that starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

LONGEST: Final = 300.0
"""Seconds for a fixture of a module or of the session, on a busy machine: each of its servers has a limit of
its own, and tells what it has logged by then."""


class SharedTime:
    """A plugin. While a shared fixture is set up, the time limit of the test that asks for it first is
    ``longest`` seconds; the test has its own, whole, after it.

    A fixture that fails fails each test of its scope: a RabbitMQ that takes a minute costs hundreds.
    """

    def __init__(self, longest: float = LONGEST) -> None:
        self._longest = longest
        self._running: tuple[Any, Any] | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_timeout_set_timer(self, item: Any, settings: Any) -> Generator[None, Any, Any]:
        """Note whose time runs."""
        self._running = item, settings
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_timeout_cancel_timer(self, item: Any) -> Generator[None, Any, Any]:
        """Note that no time runs."""
        self._running = None
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Generator[None, Any, Any]:
        """Give a shared fixture its time, if it is not part of another that has some."""
        running = self._running
        if running is None or fixturedef.scope == "function" or running[1].timeout >= self._longest:
            return (yield)
        item, settings = running
        hooks = request.config.hook
        hooks.pytest_timeout_cancel_timer(item=item)
        hooks.pytest_timeout_set_timer(item=item, settings=settings._replace(timeout=self._longest))
        try:
            return (yield)
        finally:
            hooks.pytest_timeout_cancel_timer(item=item)
            hooks.pytest_timeout_set_timer(item=item, settings=settings)

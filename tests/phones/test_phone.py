"""A real phone, whose calls a gateway of the tests takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.sip import Gateway, Message
from tests.phones.suite import PhoneCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class _Callee:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.port = gateway.port

    def requests(self, method: str) -> list[str]:
        return [_text(request) for request in self._gateway.of(method)]


def _text(request: Message) -> str:
    lines = [request.first, *(f"{name}: {value}" for name, value in request.headers), "", request.body]
    return "\n".join(lines)


class TestPhone(PhoneCalls):
    """The suite, with that gateway."""

    @pytest.fixture
    async def callee(self) -> AsyncIterator[_Callee]:
        """A gateway that takes every call."""
        async with await Gateway.open() as gateway:
            yield _Callee(gateway)

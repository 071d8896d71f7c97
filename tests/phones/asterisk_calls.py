"""A real phone, whose calls a real Asterisk takes: ``make phones``, which makes a Debian that has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.asterisk import Asterisk
from tests.harness.until import until
from tests.phones.suite import LIFE, PhoneCalls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.phone import Phone
    from tests.phones.suite import Site


@pytest.fixture
def callee(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asterisk]:
    """An Asterisk of each test."""
    with Asterisk(tmp_path_factory.mktemp("asterisk")) as made:
        yield made


class TestAsterisk(PhoneCalls):
    """The suite, and what only a callee with a will of its own can show."""

    async def test_a_call_that_asterisk_ends(self, site: Site, phone: Phone, callee: Asterisk) -> None:
        site.decisions["4420"] = {"action": "route", "uri": f"sip:1@127.0.0.1:{callee.port}"}
        phone.dial("4420")
        call_id = (await phone.event("CALL_ESTABLISHED"))["id"]
        await phone.event("CALL_CLOSED")
        await until(lambda: site.life(call_id) == LIFE)
        end = site.end(call_id)
        assert (end["code"], end["ended_by"]) == (200, "callee")
        assert 500 < end["duration_ms"] < 10_000, "it waits a second"

"""EVAPI's workers, which from Kamailio 5.7 on handle what we write: the real one, of whatever version."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import adapter.kamailio
from consumers import Request, Service, reject
from tests.harness.kamailio import KamailioServer, version
from tests.harness.sip import Caller
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from adapter.app import Bridge

service = Service("workers")
EMBEDDED = {"consumer": "tests.system.test_workers:service"}
POLLING = (5, 7)
"""Since when workers handle frames."""
CALLS = 20


@service.on("invite_request")
async def decide(request: Request) -> dict[str, object]:
    return reject(486, "Taken")


def configured(folder: Path, name: str, workers: str) -> Path:
    """A configuration that comes along, with other workers: of the include, after it."""
    text = adapter.kamailio.path(name).read_text()
    line, include = 'modparam("evapi", "workers", 0)', 'include_file "evapi-adapter.cfg"'
    if line not in text:
        line = include
        workers = f'include_file "{adapter.kamailio.path("evapi-adapter.cfg")}"\n{workers}'
    assert text.count(line) == 1
    path = folder / f"workers-{name}"
    path.write_text(text.replace(line, workers))
    return path


def linked(kamailio: KamailioServer) -> AbstractAsyncContextManager[Bridge]:
    """A bridge that serves it."""
    real = SimpleNamespace(address=kamailio.evapi_address, configuration="real")
    return bridged(real, "sbc1", EMBEDDED)  # type: ignore[arg-type]


async def _answered(bridge: Bridge) -> None:
    async with asyncio.timeout(10):
        while sum(bridge.metrics.trip.outcomes._values.values()) < CALLS:
            await asyncio.sleep(0.002)


async def test_the_last_answers_of_a_drain_are_carried_out_by_workers_that_poll(tmp_path: Path) -> None:
    """The plain configuration with EVAPI's own defaults: a worker that looks each 0.5 s."""
    with KamailioServer(tmp_path, configured(tmp_path, "plain.cfg", ""), {"SILENT_AFTER": 3000}) as kamailio:
        async with await Caller.open(kamailio.sip_port) as caller:
            async with linked(kamailio) as bridge:
                finals = [asyncio.create_task(caller.call().final()) for _ in range(CALLS)]
                await _answered(bridge)
                await bridge.draining.run()
            codes = [(await final).code for final in finals]
    assert codes == [486] * CALLS


async def test_receipts_of_several_workers_are_not_relied_on(tmp_path: Path) -> None:
    workers = 'modparam("evapi", "workers", 3)\n'
    if version() >= POLLING:
        workers += 'modparam("evapi", "wait_idle", 1000)\nmodparam("evapi", "wait_increase", 1)'
    with KamailioServer(tmp_path, configured(tmp_path, "kamailio.cfg", workers)) as kamailio:
        async with (
            await Caller.open(kamailio.sip_port) as caller,
            linked(kamailio) as bridge,
        ):
            (link,) = bridge.nodes
            async with asyncio.timeout(20):
                while link.state != "unordered":
                    finals = [asyncio.create_task(caller.call().final()) for _ in range(CALLS)]
                    assert {(await final).code for final in finals} <= {486, 503}
                    if version() < POLLING and link.writer.receipt_took is not None:
                        break
            assert link.version == ".".join(map(str, version()))
            assert link.state == ("unordered" if version() >= POLLING else "receipts")
            finals = [asyncio.create_task(caller.call().final()) for _ in range(CALLS)]
            assert [(await final).code for final in finals] == [486] * CALLS

"""How much code one call passes, from its event to its resume: what a reader has to follow."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import adapter
from adapter.cluster.role import Role
from adapter.simulator import SimulatedKamailio
from consumers import Request, Service, allow
from tests.harness.until import until
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from adapter.app import Bridge

MODULES = 25
LINES = 6_000
PATIENT = {"default": {"deadline": 25.0}}
"""A profiler makes everything slow."""
HERE = Path(adapter.__file__).parent
NO_PART = ("simulator/", "outlet.py")
"""Who plays Kamailio, and what the log is written by."""
BY_THE_CLOCK = ("relay/ticker.py", "cluster/heartbeat.py", "evapi/discovery.py", "runtime/")
"""Whose work goes on whether there is a call or not."""

service = Service("passing")


@service.on("passed")
async def _decide(request: Request) -> dict[str, str]:
    return allow()


def passed(into: set[str]) -> Callable[[FrameType, str, object], None]:
    """Return a profiler that notes each module of the adapter in which a function runs for a call."""

    def note(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or frame.f_code.co_name == "<module>":
            return
        stack = list(_modules(frame))
        if stack and not stack[-1].startswith((*BY_THE_CLOCK, *NO_PART)):
            into.add(stack[0])

    return note


def _modules(frame: FrameType | None) -> Iterator[str]:
    """The module that runs, if it is the adapter's, and those of the adapter that called it."""
    first = True
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(HERE):
            yield str(path.relative_to(HERE))
        elif first:
            return
        first, frame = False, frame.f_back


async def stop(bridge: Bridge) -> None:
    """Have nothing done by the clock any more."""
    for task in bridge._tasks:
        task.cancel()
    await asyncio.wait(bridge._tasks)
    await bridge.replicas.stop()


async def test_a_call_passes_few_modules() -> None:
    seen: set[str] = set()
    # What a replica does for a node is decided again after a beat, not for a call: there is none meanwhile.
    options = {"consumer": "tests.system.test_trip_modules:service", "lease": "30"}
    async with SimulatedKamailio() as sim, bridged(sim, "sbc1", options, PATIENT) as bridge:
        warm = await sim.suspend("passed", {})
        await warm.resumed()
        await until(lambda: bridge.roles.of("sbc1").role is Role.ACTIVE)  # decided once, until a fact changes
        await stop(bridge)
        bridge.roles.of("sbc1")
        sys.setprofile(passed(seen))
        try:
            call = await sim.suspend("passed", {})
            decided = await call.resumed(30)
        finally:
            sys.setprofile(None)
    assert decided["outcome"] == "decided"
    modules = sorted(name for name in seen if not name.startswith(NO_PART))
    lines = sum(len((HERE / name).read_text(encoding="utf-8").splitlines()) for name in modules)
    print(f"{len(modules)} modules, {lines} lines: {', '.join(modules)}")
    assert "relay/trip.py" in modules
    assert len(modules) <= MODULES
    assert lines <= LINES

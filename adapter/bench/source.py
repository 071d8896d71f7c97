"""``python -m adapter.bench.source NODE...``: the calls of a measurement, from simulated Kamailios.

A process of its own, so that its CPU is not the adapter's. It reads a JSON object a line from stdin
and answers each by one or more, a line each:

``{}``                  the nodes' addresses by name
``{"ready": seconds, "clients": number}``
                        ``{"ready": true}`` once every node has exactly so many clients and an answer, false
                        if not in time
``{a Load}``            ``{"begun": true}`` when the warm-up is over, ``{"ended": seconds}`` when no
                        more calls are offered, and once they are all over what became of them
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import json
import math
import sys
from dataclasses import asdict
from functools import partial
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any, Final

import uvloop

from adapter.bench.load import UNANSWERED, Latency, Load
from adapter.bench.names import CALL, LIFE, TAKES, TOOK, WAIT
from adapter.simulator import SimulatedKamailio, State

if TYPE_CHECKING:
    from adapter.simulator import SimTransaction

PROBE: Final = 0.25
"""Seconds for which an answer is waited for before the next question whether an adapter is there."""
GIVE_UP: Final = 10.0
"""Seconds after the last call for which answers are waited for, beside the time that they take."""
BETWEEN: Final = 0.05
"""Seconds between two moments of a call, so that its notices do not come in one read."""
FR_TIMER: Final = 300.0
"""Seconds, as good as none: what is not answered is counted here."""


class Tally:
    """What became of the calls that were due from ``since`` on (``time.monotonic``).

    Latencies are counted as they are: a histogram would cost several times as much at each call.
    """

    def __init__(self, since: float) -> None:
        self._since = since
        self._until = math.inf
        self.answered = 0
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.latency: collections.Counter[int] = collections.Counter()
        self.added: collections.Counter[int] = collections.Counter()
        self.lag: collections.Counter[int] = collections.Counter()

    def over(self) -> None:
        """No more calls are offered: what is answered from now on was not answered in time."""
        self._until = monotonic()

    def ended(self, call: SimTransaction) -> None:
        """A call is over."""
        answer = call.answer if call.state is State.RESUMED else None
        if answer is not None and self._since <= call.ended_at < self._until:
            self.answered += 1
        if call.due_at < self._since:
            return
        self.lag[round((call.suspended_at - call.due_at) * 1_000_000)] += 1
        if answer is None:
            self.outcomes[UNANSWERED] += 1
            return
        self.outcomes[answer["outcome"]] += 1
        latency = round((call.ended_at - call.due_at) * 1_000_000)
        self.latency[latency] += 1
        self.added[latency - answer["decision"].get(TOOK, 0)] += 1

    def told(self) -> dict[str, Any]:
        """As the measurement reads it."""
        latencies = {"latency": self.latency, "added": self.added, "lag": self.lag}
        return {
            "offered": self.outcomes.total(),
            "answered": self.answered,
            "outcomes": dict(self.outcomes),
            **{name: asdict(Latency.of(found)) for name, found in latencies.items()},
        }


class Source:
    """The Kamailios of a measurement."""

    def __init__(self, kamailios: dict[str, SimulatedKamailio]) -> None:
        self._kamailios = kamailios

    @property
    def addresses(self) -> dict[str, str]:
        """Where each listens."""
        return {name: kamailio.address for name, kamailio in self._kamailios.items()}

    async def ready(self, seconds: float, clients: int = 1) -> bool:
        """Whether each has so many clients and gets an answer within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                for kamailio in self._kamailios.values():
                    await kamailio.until(partial(_has, kamailio, clients), seconds)
                    while not await _answered(kamailio):
                        await asyncio.sleep(PROBE / 5)
        except TimeoutError:
            return False
        return True

    async def run(self, load: Load) -> dict[str, Any]:
        """Offer the calls; what became of them."""
        begun = monotonic() + load.warm_up
        tally = Tally(begun)
        for kamailio in self._kamailios.values():
            kamailio.on_end = tally.ended
            if load.notices:
                kamailio.on_end = partial(_tell_life, kamailio, load.notices, tally)
        data = padded({TAKES: round(load.decision * 1_000_000)}, load.payload)
        offering = [
            asyncio.create_task(self._offer(kamailio, place, load, data))
            for place, kamailio in enumerate(self._kamailios.values())
        ]
        await asyncio.sleep(max(0.0, begun - monotonic()))
        cpu = process_time()
        say({"begun": True})
        await asyncio.gather(*offering)
        tally.over()
        seconds = monotonic() - begun
        say({"ended": seconds})
        cpu = process_time() - cpu
        await self._over(GIVE_UP + load.decision)
        return {**tally.told(), "cpu": cpu}

    async def _offer(self, kamailio: SimulatedKamailio, place: int, load: Load, data: dict[str, Any]) -> None:
        event = WAIT if load.decision else CALL
        seconds = load.warm_up + load.seconds
        if load.rate is None:
            await kamailio.saturate(load.window, seconds, event, data)
            return
        await asyncio.sleep(place / load.rate)  # so that the nodes take turns
        rate = load.rate / len(self._kamailios)
        await kamailio.offer(rate, math.ceil(round(rate * seconds, 6)), event, data)

    async def _over(self, seconds: float) -> None:
        """Return once no call waits; those that wait for longer are given up."""
        until = monotonic() + seconds
        for kamailio in self._kamailios.values():
            with contextlib.suppress(TimeoutError):
                await kamailio.until(partial(_idle, kamailio), until - monotonic())
            kamailio.hang_up()


def _tell_life(kamailio: SimulatedKamailio, notices: int, tally: Tally, call: SimTransaction) -> None:
    """A call has its answer; so many notices of it follow, each in a turn of its own."""
    tally.ended(call)
    loop = asyncio.get_running_loop()
    data = {"call_id": f"{call.index}-{call.label}@bench", "at": 1795993862.312458, "code": 200}
    for number, event in enumerate(LIFE[:notices], start=1):
        loop.call_later(number * BETWEEN, kamailio.notify, event, data)


def _has(kamailio: SimulatedKamailio, clients: int) -> bool:
    return kamailio.clients == clients  # with more, shares of the nodes still change hands


def _idle(kamailio: SimulatedKamailio) -> bool:
    return not kamailio.waiting


async def _answered(kamailio: SimulatedKamailio) -> bool:
    call = await kamailio.suspend(CALL, {})
    try:
        answer = await call.resumed(PROBE)
    except TimeoutError:
        call.cancel()
        return False
    return bool(answer["outcome"] == "decided")


def padded(data: dict[str, Any], size: int) -> dict[str, Any]:
    """The data with as much more as makes so many bytes of JSON, if it has not as many."""
    missing = size - len(json.dumps({**data, "pad": ""}, separators=(",", ":")))
    return {**data, "pad": "x" * missing} if missing >= 0 else data


def say(what: dict[str, Any]) -> None:
    """Tell the measurement."""
    print(json.dumps(what), flush=True)


async def serve(names: list[str]) -> None:
    """Do what is asked until nobody can ask any more."""
    loop = asyncio.get_running_loop()
    kamailios = {name: SimulatedKamailio(fr_timer=FR_TIMER) for name in names}
    source = Source(kamailios)
    async with contextlib.AsyncExitStack() as stack:
        for kamailio in kamailios.values():
            await stack.enter_async_context(kamailio)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            asked = json.loads(line)
            if not asked:
                say(source.addresses)
            elif "ready" in asked:
                say({"ready": await source.ready(asked["ready"], asked.get("clients", 1))})
            else:
                gc.collect()
                # To look through all calls of the last seconds takes tens of ms: they would count as
                # the adapter's latency.
                gc.disable()
                say(await source.run(Load(**asked)))
                gc.enable()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1:]))

"""``make demo``: complete SIP calls through a real Kamailio, decided by separate consumer processes.

Everything is private: free ports, a temporary folder, and all of it is stopped at the end. Each call
is suspended twice: screening decides first, then least-cost routing names the gateway.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.harness.bridge import Bridge, Consumer
from tests.harness.kamailio import KamailioServer
from tests.harness.process import HarnessError
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.harness.sipp import Progress as Calls
from tests.harness.sipp import SippGateway, SippResult, run_sipp

RATE = 50.0
"""Calls begun each second."""
REPLICAS = 2
CONSUMERS = 2
SERVICES = ("screening", "least_cost")
NUMBERS = (
    ("442079460000", "alice"),
    ("4930123456", "bob"),
    ("15551234567", "carol"),
    ("442079460001", "spammer"),
)
"""Number dialled and caller, taken in turn: to the first gateway, twice to the second, screened out."""
RATES = """\
prefix,gateway,rate
44,127.0.0.1:{first},0.01
44,127.0.0.1:{second},0.02
49,127.0.0.1:{first},0.03
49,127.0.0.1:{second},0.02
1,127.0.0.1:{second},0.01
"""
NEXT = """
All of it is stopped again. Next, a call that code of your own decides; README.md goes on from here:

  python3 -m venv ~/calls/.venv && ~/calls/.venv/bin/pip install .
  cd ~/calls && . .venv/bin/activate
  evapi-adapter kamailio-cfg ./proxy"""
LIST = "block caller spam* Unwanted\n"


@dataclass
class Seen:
    """What the demo has to show."""

    calls: SippResult
    gateways: list[int]
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    consumers: dict[str, int] = field(default_factory=dict)

    def faults(self, calls: int) -> list[str]:
        """What went wrong, in sentences."""
        turns = [calls // 4 + (calls % 4 > role) for role in range(4)]
        expected = {
            "403": turns[3],
            "200": calls - turns[3],
            "first": turns[0],
            "second": turns[1] + turns[2],
        }
        found = {"403": self.calls.codes.get(403, 0), "200": self.calls.codes.get(200, 0)}
        found |= {"first": self.gateways[0], "second": self.gateways[1]}
        wrong = [
            f"{name}: {found[name]} calls, expected {count}"
            for name, count in expected.items()
            if found[name] != count
        ]
        if self.calls.failed:
            wrong.append(f"{self.calls.failed} calls did not go through as they should")
        wrong += [
            f"{event}: {n} {outcome}" for (event, outcome), n in self.outcomes.items() if outcome != "decided"
        ]
        return wrong


class Demo:
    """One run. ``close()`` stops whatever was started."""

    def __init__(self, folder: Path, calls: int, embedded: bool, console: Console) -> None:
        self._folder = folder
        self._calls = calls
        self._embedded = embedded
        self._console = console
        self._started = contextlib.ExitStack()
        self._bridges: list[Bridge] = []
        self._consumers: list[Consumer] = []

    def run(self) -> Seen:
        """Start everything, make the calls, and gather what was seen."""
        with self._started:
            self._step("two gateways")
            gateways = [self._started.enter_context(SippGateway(self._folder, f"gateway{n}")) for n in (1, 2)]
            (self._folder / "rates.csv").write_text(
                RATES.format(first=gateways[0].port, second=gateways[1].port)
            )
            (self._folder / "screening.txt").write_text(LIST)
            self._step("Kamailio with the include")
            defines = {"WITH_SCREENING": None}
            kamailio = self._started.enter_context(KamailioServer(self._folder, "kamailio.cfg", defines))
            (self._start_embedded if self._embedded else self._start_scaled)(kamailio)
            result = self._call(kamailio.sip_port)
            seen = Seen(result, [gateway.taken() for gateway in gateways])
            self._console.print("stopping")
        self._read_logs(seen)
        return seen

    def _start_scaled(self, kamailio: KamailioServer) -> None:
        self._step("RabbitMQ (about 8 s)")
        rabbitmq = self._started.enter_context(RabbitServer(self._folder))
        self._step("Redis")
        redis = self._started.enter_context(RedisServer(self._folder))
        self._step(f"{CONSUMERS} consumer processes for each of {', '.join(SERVICES)}")
        for service in SERVICES:
            for number in range(1, CONSUMERS + 1):
                name = f"{service}-{number}"
                consumer = Consumer(
                    name, self._folder, [f"consumers.{service}:service"], rabbitmq.url, self._env
                )
                self._consumers.append(consumer)
                self._started.enter_context(consumer)
        for consumer in self._consumers:
            consumer.wait_until(lambda: "consuming" in consumer.tail(), f"{consumer.name} to consume")
        self._step(f"{REPLICAS} adapter replicas")
        urls = {"amqp_url": rabbitmq.url, "redis_url": redis.url}
        for number in range(1, REPLICAS + 1):
            self._start_bridge(f"adapter-{number}", kamailio, urls)

    def _start_embedded(self, kamailio: KamailioServer) -> None:
        self._step("one adapter, both services inside")
        consumer = ",".join(f"consumers.{service}:service" for service in SERVICES)
        self._start_bridge("adapter", kamailio, {"consumer": consumer})

    def _start_bridge(self, name: str, kamailio: KamailioServer, options: dict[str, str]) -> None:
        nodes = {"sbc1": kamailio.evapi_port}
        bridge = Bridge(name, self._folder, nodes, options, self._env, log="json,debug")
        self._bridges.append(bridge)
        self._started.enter_context(bridge)
        bridge.wait_for_gate()

    def _call(self, port: int) -> SippResult:
        columns = (
            TextColumn("[bold]calling[/]"),
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.total:.0f}"),
        )
        with Progress(*columns, TimeElapsedColumn(), console=self._console) as progress:
            bar = progress.add_task("calls", total=self._calls)

            def tell(calls: Calls) -> None:
                progress.update(bar, completed=calls.ended)

            result = run_sipp(
                self._folder,
                port,
                calls=self._calls,
                rate=RATE,
                numbers=NUMBERS,
                timeout=self._calls / RATE + 60,
                on_progress=tell,
            )
            progress.update(bar, completed=result.calls)
        return result

    def _read_logs(self, seen: Seen) -> None:
        for bridge in self._bridges:
            for entry in bridge.logged("resumed"):
                seen.outcomes[entry["event_name"], entry["outcome"]] += 1
                seen.seconds.setdefault(entry["event_name"], []).append(entry["seconds"])
        for consumer in self._consumers:
            decided = re.search(r"stopped[:;] (\d+) decided", consumer.log.read_text())
            seen.consumers[consumer.name] = int(decided[1]) if decided else 0

    @property
    def _env(self) -> dict[str, str]:
        return {
            "EVAPI_LEAST_COST_RATES": str(self._folder / "rates.csv"),
            "EVAPI_SCREENING_LIST": str(self._folder / "screening.txt"),
        }

    def _step(self, what: str) -> None:
        self._console.print(f"starting {what}", highlight=False)


def show(seen: Seen, console: Console) -> None:
    """Print the tables."""
    calls = Table("calls", "number", title=f"{seen.calls.calls} calls", title_justify="left")
    calls.add_row("through, by the first gateway", str(seen.gateways[0]))
    calls.add_row("through, by the second gateway", str(seen.gateways[1]))
    for code, count in sorted(seen.calls.codes.items()):
        if code >= 300:
            calls.add_row(f"refused with {code}" + (", screened out" if code == 403 else ""), str(count))
    calls.add_row("gone wrong", str(seen.calls.failed))
    console.print(calls)
    decisions = Table(
        "event", "outcome", "number", "p50 ms", "p95 ms", "p99 ms", title="decisions, from claim to resume"
    )
    decisions.title_justify = "left"
    for (event, outcome), count in sorted(seen.outcomes.items()):
        times = sorted(seen.seconds[event])
        marks = (
            f"{times[min(len(times) - 1, int(len(times) * share))] * 1000:.1f}" for share in (0.5, 0.95, 0.99)
        )
        decisions.add_row(event, outcome, str(count), *marks)
    console.print(decisions)
    if seen.consumers:
        shares = Table("consumer process", "decided", "share", title="consumers", title_justify="left")
        for name, count in seen.consumers.items():
            of_service = sum(n for other, n in seen.consumers.items() if other[:-2] == name[:-2])
            shares.add_row(name, str(count), f"{count / max(of_service, 1):.0%}")
        console.print(shares)


def main() -> int:
    """Run the demo; 1 where any call went wrong."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--calls", type=int, default=500, help="how many calls (default 500)")
    parser.add_argument("--embedded", action="store_true", help="without RabbitMQ and Redis")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="evapi-demo-") as folder:
        try:
            seen = Demo(Path(folder), options.calls, options.embedded, console).run()
        except HarnessError as exc:
            console.print(f"the demo could not run: {exc}", style="red", markup=False)
            return 1
        except KeyboardInterrupt:
            console.print("interrupted; everything is stopped")
            return 130
    show(seen, console)
    faults = seen.faults(options.calls)
    for fault in faults:
        console.print(f"wrong: {fault}", style="red", markup=False)
    if not faults:
        console.print("every call was decided as it should", style="green")
        console.print(NEXT, highlight=False, markup=False)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

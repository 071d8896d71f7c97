"""Figures of the whole trip: CPU, latency, the most that is sustained, embedded, a standby beside it."""

from __future__ import annotations

import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapter.bench.ground import BenchError
from adapter.bench.load import Load
from tests.bench.rows import (
    Row,
    Spent,
    cost,
    fell_behind,
    first_line,
    kept_up,
    middle,
    percentiles,
    ratio,
    unmeasured,
    us,
)
from tests.bench.stage import EMBEDDED, OURS, PLAIN
from tests.harness.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from adapter.bench.ground import Child
    from adapter.bench.load import Result
    from tests.bench.stage import Effort, Stage

LOW, HIGH = 500, 2_000
P99: Final = 50.0
"""Milliseconds within which 99 of 100 calls are decided where a rate is sustained."""
FIRST: Final = {OURS: 2_000, PLAIN: 1_000}
"""The rate that is tried first."""
STEP, FINE, MOST = 1_000, 250, 10_000
WINDOW: Final = 200
SETTLE: Final = 15.0
"""Seconds that two replicas have to agree on who is active."""
BUSY: Final = 0.95
"""The share of a core from which on a process counts as full."""


def trip(stage: Stage, effort: Effort) -> Generator[Row | Spent]:
    """CPU and added latency beside the plain bridge, ours and plain in turn."""
    for rate in (LOW, HIGH):
        load = Load(rate, effort.seconds, warm_up=effort.warm_up)
        found: dict[str, list[Result]] = {OURS: [], PLAIN: []}
        trouble = ""
        for _ in range(effort.repeats):
            for who, results in found.items():
                try:
                    with stage.ground(who) as ground:
                        results.append(stage.measure(ground, load, f"{who} at {rate}/s"))
                except BenchError as exc:
                    trouble = f"{who}: {exc}"
                    stage.say(f"  {trouble}")
        yield from _trip_rows(rate, found[OURS], found[PLAIN], trouble)
        for who, results in found.items():
            if results:
                yield Spent(who, f"{rate:,}/s", middle(results))


def _trip_rows(rate: int, ours: Sequence[Result], plain: Sequence[Result], trouble: str) -> Generator[Row]:
    if not ours or not plain:
        yield from (unmeasured(f"{kind}-{rate}", trouble) for kind in ("cpu", "latency"))
        return
    mine, other = cost(middle(ours)), cost(middle(plain), lenient=True)
    share = ratio(mine, other)
    enough = share is not None and (share <= 0.8 if rate == LOW else share <= 0.5 and mine <= 200)
    enough = enough and kept_up(ours)
    yield Row(
        f"cpu-{rate}",
        *(f"{us(mine)}{fell_behind(ours)}", enough, f"{us(other)}{fell_behind(plain)}", share),
        note=f"failed runs: {first_line(trouble)}" if trouble else "",
    )
    (p50, p99), (plain50, plain99) = percentiles(ours), percentiles(plain)
    shares = ratio(p50, plain50), ratio(p99, plain99)
    if rate == LOW:
        enough = all(each is not None and each <= 1.1 for each in shares) and kept_up(ours)
    else:
        enough = p99 <= 10 and kept_up(ours)
    yield Row(
        f"latency-{rate}",
        f"{p50:.1f} / {p99:.1f} ms{fell_behind(ours)}",
        enough,
        f"{plain50:.1f} / {plain99:.1f} ms{fell_behind(plain)}",
        shares[1],
        note=f"ratio of p50 {shares[0]:.2f}, of p99 {shares[1]:.2f}" if None not in shares else "",
    )


def climb(first: int, step: int, fine: int, most: int) -> Generator[int, bool, int]:
    """Look for the highest rate that is sustained: yields what to try, is sent whether it was.

    Up by ``step`` until a rate fails, then by halves down to ``fine``. A failure is believed when
    it is seen twice. Returns the rate, 0 where none was sustained.
    """
    good, bad = 0, most + fine
    rate, topped = first, False
    while True:
        if (yield rate) or (yield rate):
            good = rate
        else:
            bad, topped = rate, True
        rate = good + (bad - good) // fine // 2 * fine if topped else min(good + step, most)
        if rate in (good, bad):
            return good


def sustains(result: Result) -> bool:
    """Whether 99 of 100 calls were decided in time, late ones of the source counted as late."""
    return result.decided >= 0.99 and result.latency.p99 < P99 * 1000


def sustained(stage: Stage, effort: Effort) -> Generator[Row | Spent]:
    """The most of each, with as many consumers as are best for it."""
    best: dict[str, tuple[int, int, Result]] = {}
    for consumers in (1,) if effort.quick else (1, 2):
        for who, (rate, result) in _highest(stage, effort, consumers).items():
            if rate > best.get(who, (0,))[0]:
                best[who] = rate, consumers, result
    if OURS not in best:
        yield Row("sustained", f"none from {FINE}/s on", False, _rate(best.get(PLAIN)))
        return
    rate, _, result = best[OURS]
    share = ratio(rate, best[PLAIN][0]) if PLAIN in best else None
    alone = 1_000_000 / cost(result)
    yield Row(
        "sustained",
        *(_rate(best[OURS]), rate >= 3_500 and (share is None or share >= 2), _rate(best.get(PLAIN)), share),
        note=f"at that rate {us(cost(result))} per call: a core of its own would do {alone:,.0f}/s",
    )
    for who, (rate, consumers, result) in best.items():
        yield Spent(who, f"{rate:,}/s, consumers: {consumers}", result)


def _rate(found: tuple[int, int, Result] | None) -> str:
    return f"{found[0]:,}/s (consumers: {found[1]})" if found else "none"


def _highest(stage: Stage, effort: Effort, consumers: int) -> dict[str, tuple[int, Result]]:
    """What each sustains with so many consumers; a step of one, then a step of the other."""
    fine = STEP if effort.quick else FINE
    climbs = {who: climb(FIRST[who], STEP, fine, MOST) for who in (OURS, PLAIN)}
    trying = {who: next(each) for who, each in climbs.items()}
    passed: dict[str, dict[int, Result]] = defaultdict(dict)
    highest: dict[str, tuple[int, Result]] = {}
    while trying:
        for who, rate in list(trying.items()):
            result = _try(stage, effort, who, rate, consumers)
            if result is not None:
                passed[who][rate] = result
            try:
                trying[who] = climbs[who].send(result is not None)
            except StopIteration as done:
                del trying[who]
                if done.value:
                    highest[who] = done.value, passed[who][done.value]
    return highest


def _try(stage: Stage, effort: Effort, who: str, rate: int, consumers: int) -> Result | None:
    load = Load(rate, effort.seconds, warm_up=effort.warm_up)
    try:
        with stage.ground(who, consumers=consumers) as ground:
            result = stage.measure(ground, load, f"{who} at {rate}/s, consumers: {consumers}")
    except BenchError as exc:
        stage.say(f"  {who} at {rate}/s: {exc}")
        return None
    return result if sustains(result) else None


def embedded(stage: Stage, effort: Effort) -> Generator[Row | Spent]:
    """A consumer inside the adapter: as many as it takes, and at a rate for the same in calm."""
    with stage.ground(EMBEDDED) as ground:
        calm = stage.measure(
            ground, Load(HIGH, effort.seconds, warm_up=effort.warm_up), f"embedded at {HIGH}/s"
        )
        full = Load(None, effort.seconds, window=WINDOW, warm_up=effort.warm_up)
        flat_out = [stage.measure(ground, full, "embedded, flat out") for _ in range(effort.repeats)]
    result = middle(flat_out)
    rest = fell_behind(flat_out)
    note = f"flat out; at {HIGH:,}/s {us(cost(calm))}"
    yield Row(
        "embedded-cpu",
        f"{us(cost(result))}{rest}",
        cost(result) <= 60 and kept_up(flat_out),
        note=note,
    )
    busy = result.cpu["source"] * result.throughput / 1_000_000
    limit = "the source of calls has its core full" if busy >= BUSY else "the adapter is the limit"
    enough = result.throughput >= 10_000 and kept_up(flat_out)
    yield Row("embedded-rate", f"{result.throughput:,.0f}/s{rest}", enough, note=limit)
    yield Spent(EMBEDDED, f"{HIGH:,}/s", calm)
    yield Spent(EMBEDDED, "flat out", result)


def standby(stage: Stage, effort: Effort) -> Generator[Row | Spent]:
    """Two replicas: what the one that only stands by takes for another's calls."""
    load = Load(HIGH, effort.seconds, warm_up=effort.warm_up)
    results: list[Result] = []
    name = ""
    with stage.ground(replicas=2) as ground:
        wait_until(lambda: _settled(ground.adapters), "one active replica", SETTLE)
        before = [is_active(child) for child in ground.adapters]
        name = ground.adapters[before.index(False)].name
        for _ in range(effort.repeats):
            results.append(stage.measure(ground, load, f"two replicas at {HIGH}/s"))
            if before != [is_active(child) for child in ground.adapters]:
                raise BenchError("the active replica gave way while it was measured")
    result = middle(results, name)
    active = next(each for each in result.cpu if each.startswith("adapter") and each != name)
    yield Row(
        "standby",
        f"{us(cost(result, name))}{fell_behind(results)}",
        cost(result, name) <= 25 and kept_up(results),
        note=f"the active one beside it {us(cost(result, active))}",
    )
    yield Spent("adapter, 2 replicas", f"{HIGH:,}/s", result)


def _settled(adapters: Sequence[Child]) -> bool:
    """Whether each replica has heard of all, and one is active."""
    all_heard = all(tells(child, "evapi_replicas", len(adapters)) for child in adapters)
    return all_heard and sum(map(is_active, adapters)) == 1


def is_active(child: Child) -> bool:
    """Whether a replica is the active one of its node, by its metrics. Raises BenchError."""
    return tells(child, "evapi_active{", 1)


def tells(child: Child, series: str, value: float) -> bool:
    """Whether a metric that begins like this has the value. Raises BenchError."""
    try:
        environ = Path(f"/proc/{child.process.pid}/environ").read_bytes().split(b"\0")
        http = next(each for each in environ if each.startswith(b"EVAPI_HTTP="))
        address = http.partition(b"=")[2].decode()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except (OSError, StopIteration) as exc:
        raise BenchError(f"{child.name} does not tell its metrics: {exc}") from exc
    return any(line.startswith(series) and line.endswith(f" {float(value)}") for line in lines)

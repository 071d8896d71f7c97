"""One load after the other, and what came of each."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from adapter.bench.load import Latency, Load, Result
from adapter.bench.usage import busy

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.bench.ground import Ground


def measure(ground: Ground, load: Load, tell: Callable[[float], object] = lambda _: None) -> Result:
    """Put the ground under a load; ``tell`` is given the seconds left, now and then.

    Raises BenchError where a process has ended.
    """
    over = monotonic() + load.warm_up + load.seconds

    def meanwhile() -> None:
        ground.check()
        tell(max(0.0, over - monotonic()))

    source = ground.source
    source.ask(load.told(), meanwhile)
    ground.forget_peaks()
    worked, before = busy(), ground.usages()
    seconds = source.hear(meanwhile)["ended"]
    worked, after = busy() - worked, ground.usages()
    told = source.hear(meanwhile)
    calls = max(told["offered"], 1)
    cpu = {name: (after[name].cpu - before[name].cpu) * 1e6 / calls for name in after if name in before}
    cpu["source"] = told["cpu"] * 1e6 / calls
    first = ground.adapters[0].name
    latency, added, lag = (Latency(**told[each]) for each in ("latency", "added", "lag"))
    return Result(
        *(load, told["offered"], told["outcomes"], seconds, latency, added, cpu),
        *(before[first], after[first], told["answered"], lag),
        peaks={name: used.peak for name, used in after.items()},
        busy=worked / seconds,
    )

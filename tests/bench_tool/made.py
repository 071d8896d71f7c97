"""Results as a measurement gives them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adapter.bench.load import Latency, Load, Result, Usage

USED = Usage(1.0, 60_000_000, 70_000_000)
SOUND = Result(
    Load(500.0, 10.0),
    offered=5_000,
    outcomes={"decided": 5_000},
    seconds=10.0,
    latency=Latency(1_500, 3_000, 4_500, 12_340, 150_000),
    added=Latency(1_400, 2_900, 4_400, 12_000, 149_000),
    cpu={"adapter 1": 200.0, "consumer 1": 60.0, "consumer 2": 40.0, "source": 50.0},
    before=USED,
    after=USED,
    answered=5_001,
    lag=Latency(500, 800, 900, 1_000, 1_100),
    peaks={"adapter 1": 70_000_000, "consumer 1": 30_000_000, "consumer 2": 31_000_000},
    busy=0.5,
)


def result(rate: float | None = 500.0, **changes: Any) -> Result:
    """A sound one, apart from what is changed."""
    return replace(SOUND, load=replace(SOUND.load, rate=rate), **changes)

"""Figures at the edges: replies to Kamailio, real calls by SIPp, the start of the command."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

from tests.bench import compare, replies
from tests.bench.rows import Row
from tests.bench.ways import missing
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from tests.bench.replies import Brought
    from tests.bench.stage import Effort, Stage

FRAMES: Final = 20_000
WAYS: Final = ("http_client", "rabbitmq", "adapter")
SIP: Final = compare.Load(50, 1_000)
STARTS: Final = 10


def brought(stage: Stage, effort: Effort) -> Generator[Row]:
    """Replies through one link, flat out, to the simulated Kamailio and to the real one."""
    taken = [replies.simulated(FRAMES) for _ in range(effort.repeats)]
    yield _brought("replies", taken)
    taken = [replies.real(FRAMES, stage.own("kamailio")) for _ in range(effort.repeats)]
    yield _brought("replies-kamailio", taken)


def _brought(name: str, taken: Sequence[Brought]) -> Row:
    """The middle one, and what all of them lost."""
    one = sorted(taken, key=lambda each: each.rate)[(len(taken) - 1) // 2]
    lost = sum(each.lost for each in taken)
    frames = sum(each.frames for each in taken)
    return Row(
        name,
        f"{one.rate:,.0f}/s, {lost} of {frames:,} lost",
        one.rate >= 20_000 and not lost,
        note=f"{one.cpu / one.frames * 1_000_000:.0f} us of the adapter's CPU per reply",
    )


def sip(stage: Stage, effort: Effort) -> Generator[Row]:
    """The same calls by SIPp in each way, each against a fresh Kamailio."""
    absent = missing(WAYS)
    if absent:
        raise HarnessError(f"apt-get install {' '.join(absent.values())}")
    seconds = 3 if effort.quick else compare.SECONDS
    rows: dict[str, compare.Row] = {}
    for row in compare.measure([SIP], WAYS, seconds, stage.own("sip"), stage.servers):
        rows[row.way] = row
        stage.say(f"  {row.told}")
    yield sip_row(rows)


def sip_row(rows: dict[str, compare.Row]) -> Row:
    """Ours, with Kamailio's modules beside."""
    ours = rows["adapter"]
    all_decided = ours.result.codes.get(compare.DECIDED, 0) == ours.result.calls
    beside = [f"{way}: {_told(rows[way])}" for way in WAYS if way != "adapter"]
    return Row(
        "sip",
        _told(ours),
        all_decided and ours.result.percentile(0.99) <= 0.075,
        note=f"Kamailio's own modules, {'; '.join(beside)}",
    )


def _told(row: compare.Row) -> str:
    return f"{row.decided} decided, p50 / p99 {row.milliseconds(0.5)} / {row.milliseconds(0.99)} ms"


def start_up(stage: Stage, effort: Effort) -> Generator[Row]:
    """The command's help, and a Python that does nothing for scale."""
    script = Path(sys.executable).with_name("evapi-adapter")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "adapter.cli"]
    seconds = _median([*command, "--help"])
    bare = _median([sys.executable, "-c", ""])
    yield Row("start-up", f"{seconds:.2f} s", seconds < 0.3, note=f"a bare python takes {bare:.3f} s")


def _median(command: Sequence[str]) -> float:
    """Seconds that a command takes."""
    seconds = []
    for _ in range(STARTS):
        begun = perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds.append(perf_counter() - begun)
        if done.returncode:
            raise HarnessError(f"{' '.join(command)} failed\n{done.stderr}")
    return statistics.median(seconds)

"""``python -m tests.bench.compare``: this adapter beside Kamailio's own, blocking modules.

The same calls by SIPp, one way after the other, each against a fresh Kamailio with 4 SIP workers. Every
way gets the same decision, "reject 486", which takes a given time. A call is decided when its caller gets
that 486; all others are not, whether they heard something else or nothing until they gave up. The times
are those from INVITE to final answer of the calls that got one, in steps of SIPp's clock (up to 4 ms).

All runs on this machine and shares its cores; everything is private and stopped at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tests.bench.ways import SIP_WORKERS, TITLES, WAYS, Ground, Servers, missing
from tests.harness.process import HarnessError
from tests.harness.sipp import MAX_CALLS, MAX_RATE, WAIT_FOR_A_MESSAGE, run_sipp

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from tests.harness.sipp import SippResult

DECIDED = 486
SECONDS = 10
LOADS = "0:200,1000 50:50,200,1000"
GIVE_UP = 4 * WAIT_FOR_A_MESSAGE
"""Seconds that a run may last after its last call has begun: every caller has long given up by then."""


@dataclass(frozen=True, slots=True)
class Load:
    """How long a decision takes, and how many calls begin each second."""

    decision_ms: int
    rate: int


@dataclass(frozen=True, slots=True)
class Row:
    """What came out of one run."""

    load: Load
    way: str
    result: SippResult

    @property
    def decided(self) -> str:
        """The share of the calls that were decided; 100 % only where all were."""
        share = self.result.codes.get(DECIDED, 0) / self.result.calls
        return f"{math.floor(share * 1000) / 10:g} %"

    def milliseconds(self, share: float) -> str:
        """The time within which this share of the answered calls was answered."""
        if not self.result.response_times:
            return "none"
        return f"{self.result.percentile(share) * 1000:,.0f}"

    @property
    def told(self) -> str:
        """The row as a line, with what callers got in place of the decision."""
        takes, rate, way, decided, p50, p99 = (cell.replace("`", "") for cell in self.cells)
        line = f"{takes}, {rate} calls/s, {way}: {decided} decided, p50 {p50} ms, p99 {p99} ms"
        codes = [item for item in sorted(self.result.codes.items()) if item[0] != DECIDED]
        return "; ".join([line, *(f"{count} got {code}" for code, count in codes)])

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        load = (f"{self.load.decision_ms} ms", f"{self.load.rate:,}")
        return (*load, TITLES[self.way], self.decided, self.milliseconds(0.5), self.milliseconds(0.99))


COLUMNS = ("decision", "calls/s", "way", "decided", "p50 ms", "p99 ms")
RIGHT = (0, 1, 3, 4, 5)


def measure(
    loads: Sequence[Load],
    ways: Sequence[str],
    seconds: int,
    folder: Path,
    servers: Servers | None = None,
) -> Generator[Row, None, None]:
    """Make the calls of every load in every way. Raises HarnessError where a server or SIPp fails.

    ``servers``: those that run already; else they are started, and ended at the end.
    """
    with contextlib.ExitStack() as started:
        servers = servers or Servers(folder, started)
        for number, load in enumerate(loads):
            for way in ways:
                own = folder / f"{way}-{number}"
                own.mkdir()
                ground = Ground(own, load.decision_ms, f"bench-{number}", servers)
                with WAYS[way](ground) as port:
                    calls = load.rate * seconds
                    timeout = seconds + GIVE_UP
                    result = run_sipp(own, port, calls=calls, rate=load.rate, timeout=timeout)
                yield Row(load, way, result)


def table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    made = Table()
    for number, column in enumerate(COLUMNS):
        made.add_column(column, justify="right" if number in RIGHT else "left", no_wrap=True)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        cells = [cell.replace("`", "") for cell in row.cells]
        made.add_row(*cells, end_section=after is None or after.load != row.load)
    return made


def markdown(rows: Sequence[Row]) -> str:
    """For a README."""
    marks = ["--:" if number in RIGHT else "---" for number in range(len(COLUMNS))]
    lines = [COLUMNS, marks, *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def loads(text: str) -> list[Load]:
    """Loads as the option gives them. Raises ArgumentTypeError."""
    takes, _, rates = text.partition(":")
    try:
        found = [Load(int(takes), int(rate)) for rate in rates.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= load.decision_ms < 2000 and 0 < load.rate <= MAX_RATE for load in found):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no MS:RATE[,RATE], such as 50:200,1000: ms below 2000, up to {MAX_RATE} calls/s"
        )
    return found


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, help=f"how long calls begin in each run (default {SECONDS})"
    )
    parser.add_argument(
        "--rates",
        type=loads,
        nargs="+",
        metavar="MS:RATE[,RATE]",
        default=[loads(text) for text in LOADS.split()],
        help=f"ms that a decision takes, and calls/s (default {LOADS})",
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    parser.add_argument("--markdown", action="store_true", help="a table for a README")
    found = parser.parse_args(arguments)
    found.rates = [load for each in found.rates for load in each]
    most = max(load.rate for load in found.rates)
    if not 0 < found.seconds * most <= MAX_CALLS:
        parser.error(f"--seconds {found.seconds} at {most} calls/s: at most {MAX_CALLS} calls in a run")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 where something could not run to its end, 2 where a module is missing."""
    chosen = options(arguments)
    # What was started is stopped then too: a server left behind would spoil the next comparison.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    talk = Console(stderr=True, highlight=False, soft_wrap=True)
    rows: list[Row] = []
    code = 0
    try:
        absent = missing(chosen.ways)
        if absent:
            for module, package in absent.items():
                talk.print(f"Kamailio's module {module} is missing: apt-get install {package}", style="red")
            return 2
        talk.print(
            f"{SIP_WORKERS} SIP workers; {chosen.seconds} s of calls in each run; "
            f"a caller gives up when it has heard nothing for {WAIT_FOR_A_MESSAGE:.0f} s"
        )
        total = len(chosen.rates) * len(chosen.ways)
        with (
            tempfile.TemporaryDirectory(prefix="evapi-compare-") as folder,
            contextlib.closing(measure(chosen.rates, chosen.ways, chosen.seconds, Path(folder))) as measured,
        ):
            for row in measured:
                rows.append(row)
                talk.print(f"{len(rows)}/{total} {row.told}", markup=False)
    except HarnessError as exc:
        talk.print(f"ended early: {exc}", style="red", markup=False)
        code = 1
    except KeyboardInterrupt:
        talk.print("interrupted; everything is stopped")
        code = 130
    if rows and chosen.markdown:
        print(markdown(rows))
    elif rows:
        console.print(table(rows))
    return code


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.bench.figures``: how fast, beside a plain bridge, in one run.

Every figure that this project promises, measured on this machine with private servers that end with it.
Loads that are compared are taken in turn, ours and the plain bridge's (``tests.bench.plain_bridge``), so
that what else the machine does hits both. CPU per call is that of a process over the calls decided.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from rich.console import Console

from adapter.bench.ground import BenchError
from tests.bench import edges, growth, trips
from tests.bench.rows import FIGURES, Row, Spent, markdown, replaced, spent_table, table, unmeasured
from tests.bench.stage import QUICK, Effort, Stage, preface
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence


class Section(NamedTuple):
    """Rows that are measured together."""

    names: tuple[str, ...]
    run: Callable[[Stage, Effort], Generator[Row | Spent]]


SECTIONS: Final = (
    Section(("cpu-500", "latency-500", "cpu-2000", "latency-2000"), trips.trip),
    Section(("sustained",), trips.sustained),
    Section(("embedded-cpu", "embedded-rate"), trips.embedded),
    Section(("standby",), trips.standby),
    Section(("replies", "replies-kamailio"), edges.brought),
    Section(("memory-idle", "memory-call", "in-flight"), growth.in_flight),
    Section(("nodes",), growth.nodes),
    Section(("sip",), edges.sip),
    Section(("start-up",), edges.start_up),
    Section(("soak",), growth.soak),
)
FILE_WIDTH: Final = 160
"""Characters of a line where the tables go into a file or a pipe."""
FIGURES_MARKER, SOAK_MARKER = "figures", "soak"


class Seen:
    """The rows so far."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.spent: list[Spent] = []

    @property
    def in_order(self) -> list[Row]:
        """The rows as the table has them."""
        order = list(FIGURES)
        return sorted(self.rows, key=lambda row: order.index(row.name))

    def take(self, section: Section, found: Iterator[Row | Spent], say: Callable[[str], object]) -> None:
        """Measure a section; what cannot be measured gets a row that says so."""
        trouble: Exception | None = None
        try:
            for each in found:
                if isinstance(each, Row):
                    self.rows.append(each)
                    say(each.told)
                else:
                    self.spent.append(each)
        except (BenchError, HarnessError, OSError, subprocess.SubprocessError) as exc:
            trouble = exc
            say(f"not measured: {exc}")
        done = {row.name for row in self.rows}
        self.rows += [unmeasured(name, str(trouble)) for name in section.names if name not in done]


def run(chosen: Sequence[Section], effort: Effort, stage: Stage, seen: Seen) -> None:
    """Measure one section after the other."""
    for number, section in enumerate(chosen, 1):
        stage.say(f"{number}/{len(chosen)} {', '.join(section.names)}")
        with contextlib.closing(section.run(stage, effort)) as found:
            seen.take(section, found, stage.say)


def write(path: Path, seen: Seen, told: str) -> None:
    """Put the rows into their places in a Markdown file; a place for which there are none stays."""
    text = path.read_text("utf-8")
    for marker, soaked in ((FIGURES_MARKER, False), (SOAK_MARKER, True)):
        rows = [row for row in seen.in_order if (row.name == "soak") is soaked]
        spent = [each for each in seen.spent if each.what.endswith("soak") is soaked]
        if rows:
            text = replaced(text, marker, markdown(rows, spent, told))
    path.write_text(text, "utf-8")


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", nargs="+", choices=FIGURES, metavar="ROW", help=f"of {', '.join(FIGURES)}; with these "
        "come the rows that are measured with them (default: all but soak)"
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="short loads, once: to try it, not to believe it"
    )
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="the soak, too (with --only soak: 30)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables between its markers")
    found = parser.parse_args(arguments)
    if found.soak is not None and not 0 < found.soak <= 24 * 60:
        parser.error(f"--soak {found.soak:g}: above 0, at most a day")
    wanted = set(found.only or set(FIGURES) - {"soak"}) | ({"soak"} if found.soak else set())
    found.sections = [section for section in SECTIONS if wanted & set(section.names)]
    if found.markdown is not None:
        try:
            text = found.markdown.read_text("utf-8")
            for marker in (FIGURES_MARKER, SOAK_MARKER):
                replaced(text, marker, "")
        except (OSError, ValueError) as exc:
            parser.error(f"--markdown {found.markdown}: {exc}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 1 where a figure was not met or could not be measured, 130 where interrupted."""
    chosen = options(arguments)
    effort = QUICK if chosen.quick else Effort()
    effort = replace(effort, soak=chosen.soak or effort.soak)
    # What was started is stopped then, too: a server left behind would spoil the next measurement.
    # SIGINT by name: a shell lets what it starts in the background ignore it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    # The link that is driven in this process would log to stdout, where the table goes.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    talk = Console(stderr=True, highlight=False, soft_wrap=True)
    seen, told, interrupted = Seen(), "", False
    before = os.getloadavg()[0]
    command = f"python -m tests.bench.figures {' '.join(sys.argv[1:] if arguments is None else arguments)}"
    with contextlib.ExitStack() as started:
        folder = started.enter_context(tempfile.TemporaryDirectory(prefix="evapi-figures-"))
        stage = Stage(Path(folder), started, lambda text: talk.print(text, markup=False))
        try:
            told = preface(command.strip(), stage, before)
            stage.say(told)
            run(chosen.sections, effort, stage, seen)
        except KeyboardInterrupt:
            talk.print("interrupted; everything is ended")
            interrupted = True
        except HarnessError as exc:
            talk.print(f"ended early: {exc}", style="red", markup=False)
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    if seen.rows:
        console.print(table(seen.in_order))
    if seen.spent:
        console.print("Where the cores went, in microseconds of CPU per call offered:")
        console.print(spent_table(seen.spent))
    if interrupted:
        return 130
    if chosen.markdown is not None and seen.rows:
        write(chosen.markdown, seen, told)
    return 0 if seen.rows and all(row.met for row in seen.rows) else 1


if __name__ == "__main__":
    sys.exit(main())

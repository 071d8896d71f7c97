"""``make clients``: tries every client, and writes the table of consumers/README.md.

A row that is to decide, with what it says is to be done, and does not, ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from tests.clients.rows import ROWS
from tests.clients.trial import Seen, standing
from tests.harness import node
from tests.harness.rabbitmq import SPEAKS, RabbitServer
from tests.harness.readme import CONSUMERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.clients.rows import Row
    from tests.clients.trial import Trials

BEGIN: Final = "<!-- made by make clients: begin -->\n"
END: Final = "<!-- made by make clients: end -->\n"
AT_ONCE: Final = 2


class Tried(NamedTuple):
    """A row, what came of it as it is, and with what is to be done (None: nothing is)."""

    row: Row
    natural: Seen
    fixed: Seen | None

    @property
    def good(self) -> bool:
        """Whether the row tells the truth."""
        told = self.fixed or self.natural
        return told.decides or not (self.row.fixed or not self.row.todo)


def names(number: int, row: Row) -> list[tuple[str, str]]:
    """The ways that are tried of a row, each with the name of its service and event."""
    stem = row.client.replace(" ", "_").replace(".", "_")
    ways = [row.way, row.fixed] if row.fixed else [row.way]
    return [(way, f"{stem}-{number}-{at}") for at, way in enumerate(ways)]


async def tried(trials: Trials, number: int, row: Row, slots: asyncio.Semaphore) -> Tried:
    """Try it as it is, and with what is to be done."""
    found = []
    for way, name in names(number, row):
        async with slots:
            found.append(await trials.seen(row, way, name))
    made = Tried(row, found[0], found[1] if len(found) > 1 else None)
    print(
        f"{'' if made.good else 'WRONG  '}{row.client}, {row.does}: {' / '.join(map(str, found))}", flush=True
    )
    return made


async def all_tried(rows: Sequence[Row], rabbitmq: RabbitServer, folder: Path, python: str) -> list[Tried]:
    """Try them, some at a time."""
    formats = [(name, row.form) for number, row in enumerate(rows) for _, name in names(number, row)]
    slots = asyncio.Semaphore(AT_ONCE)
    async with standing(rabbitmq, formats, folder, python) as trials:
        return await asyncio.gather(*(tried(trials, number, row, slots) for number, row in enumerate(rows)))


def versions(python: str) -> dict[str, str]:
    """What is installed: of PyPI by this Python, of npm by the lock, of Debian."""
    listed = subprocess.check_output([python, "-m", "pip", "list", "--format", "json"], text=True)
    found = {each["name"].lower(): each["version"] for each in json.loads(listed)}
    locked = json.loads((node.CLIENTS / "package-lock.json").read_text())["packages"]
    found |= {name.removeprefix("node_modules/"): each.get("version", "") for name, each in locked.items()}
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${source:Upstream-Version}\\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split(" ", 1) for line in shown.stdout.splitlines()) | found


def table(found: Sequence[Tried], known: Mapping[str, str], told: str) -> str:
    """The table, with what is told about the run before it."""
    lines = ["| client | version | its natural consumer | comes to | to do |", "|---|---|---|---|---|"]
    for row, natural, _ in found:
        version = known.get(row.package.lower(), "?")
        todo = row.todo or "nothing"
        lines.append(f"| {row.client} | {version} | {row.does} | {natural} | {todo} |")
    return "\n".join([told, "", *lines, ""])


def replaced(page: str, text: str) -> str:
    """The page with another text between the marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{CONSUMERS}: the marks {BEGIN.strip()} and {END.strip()} are missing")
    return f"{before}{begin}{text}{end}{after}"


def main() -> int:
    """Try them, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="one that has the clients of PyPI")
    parser.add_argument("--only", default="", help="clients whose name has this in it; writes no table")
    chosen = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    rows = [row for row in ROWS if chosen.only.lower() in row.client.lower()]
    node.install(node.CLIENTS)
    with (
        tempfile.TemporaryDirectory(prefix="clients-") as folder,
        RabbitServer(Path(folder), speaks=tuple(SPEAKS)) as rabbitmq,
    ):
        found = asyncio.run(all_tried(rows, rabbitmq, Path(folder), chosen.python))
        server = ".".join(map(str, rabbitmq.version))
    if not chosen.only:
        day = f"{datetime.now(UTC):%Y-%m-%d}"
        told = f"Tried on {day} with RabbitMQ {server}; requests are JSON unless a row says otherwise."
        CONSUMERS.write_text(replaced(CONSUMERS.read_text(), table(found, versions(chosen.python), told)))
    return 0 if all(each.good for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Those clients that the tests have anyway decide; and the page tells of all that are tried."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.clients.__main__ import BEGIN, END, names, replaced, table
from tests.clients.__main__ import Tried as Made
from tests.clients.rows import ROWS, Row
from tests.clients.trial import ALLOWED, Seen, standing
from tests.harness.readme import CONSUMERS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer

HERE = [row for row in ROWS if row.client in ("pika", "aio-pika", "stomp.py")]
PAGE = CONSUMERS.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
DECIDED = Seen("decided", ALLOWED)


async def test_they_decide(rabbitmq: RabbitServer, tmp_path: Path) -> None:
    events = [f"{row.client.replace('.', '_')}-{uuid4().hex[:8]}" for row in HERE]
    formats = [(event, row.form) for event, row in zip(events, HERE, strict=True)]
    async with standing(rabbitmq, formats, tmp_path) as trials:
        for event, row in zip(events, HERE, strict=True):
            seen = await trials.seen(row, row.fixed or row.way, event)
            assert seen.decides, (row.client, seen)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.client}: {row.does}")
def test_the_page_tells_of_each(row: Row) -> None:
    """Once, as the rows have it: else ``make clients`` was not run since."""
    found = [line for line in PAGE.splitlines() if line.startswith(f"| {row.client} | ")]
    told = [
        line
        for line in found
        if f" | {row.does} | " in line and line.endswith(f" | {row.todo or 'nothing'} |")
    ]
    assert len(told) == 1


def test_each_row_has_a_name_of_its_own() -> None:
    found = [name for number, row in enumerate(ROWS) for _, name in names(number, row)]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (DECIDED, "decided"),
        (Seen("decided", {"Action": "allow"}), 'decided, as `{"Action":"allow"}`'),
        (Seen("timeout", {"action": "reject"}), "timeout"),
        (Seen("ended", "NoSuchHost"), "ends: NoSuchHost"),
    ],
)
def test_what_is_told_of_an_outcome(seen: Seen, told: str) -> None:
    assert str(seen) == told


def test_a_row_is_wrong_that_promises_too_much() -> None:
    row, hopeless = Row("a", "a", "python", "a.py", "", "b"), Row("a", "a", "python", "a.py", "", "b", "c")
    cured = Row("a", "a", "python", "a.py", "", "b", "c", "d")
    silent = Seen("timeout")
    assert [Made(row, DECIDED, None).good, Made(row, silent, None).good] == [True, False]
    assert [Made(cured, silent, DECIDED).good, Made(cured, silent, silent).good] == [True, False]
    assert Made(hopeless, silent, None).good


def test_the_table_is_put_between_its_marks() -> None:
    row = Row("Pika", "Pika", "python", "a.py", "", "does")
    text = table([Made(row, DECIDED, None)], {"pika": "1.2"}, "told.")
    assert "| Pika | 1.2 | does | decided | nothing |" in text
    page = f"before\n{BEGIN}old\n{END}after\n"
    assert replaced(page, text) == f"before\n{BEGIN}{text}{END}after\n"
    with pytest.raises(SystemExit):
        replaced("no marks", text)

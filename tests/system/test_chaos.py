"""The short form of ``make chaos``: no call is left hanging, whatever dies or is cut off."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from tests.chaos.rows import ROWS
from tests.chaos.run import Load, run
from tests.chaos.servers import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.row import Row

LOAD: Final = Load(rate=60, seconds=7, at=1.5)
FULL: Final = Load()
SEED: Final = 1
SHORT: Final = {
    "SIGKILL active": 2.0,
    "SIGSTOP active 5 s": 2.5,
    "Redis killed, back 5 s": 2.5,
    "cut off from Kamailio 5 s": 2.5,
    "RabbitMQ killed, back 10 s": 1.0,
}
"""Rows by name, and how many seconds their fault lasts here; RabbitMQ takes some more to start. Before its
fault each is as the row "nothing"."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("chaos")) as made:
        yield made


def shortened(row: Row) -> Row:
    """A fault leaves as many calls undecided at a time as there are calls: it is those that are bounded,
    not a share of so short a run. What is a matter of milliseconds is left to the long form.
    """
    undecided = (1 - row.bounds.decided) * FULL.calls * LOAD.rate / FULL.rate
    bounds = replace(row.bounds, decided=1 - undecided / LOAD.calls, checks=())
    return replace(
        row, bounds=bounds if row.bounds.decided else replace(bounds, decided=0.0), lasts=SHORT[row.name]
    )


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in SHORT], ids=lambda row: row.name)
def test_no_call_is_left_hanging(row: Row, servers: Servers, tmp_path: Path) -> None:
    short = shortened(row)
    report = run(short, servers, tmp_path / "logs", LOAD, SEED)
    assert not short.bounds.misses(report), (tmp_path, report.notes)
    assert report.mismatches() == []


def test_every_short_row_is_one_of_the_long_form() -> None:
    assert SHORT.keys() <= {row.name for row in ROWS}

"""What is made of the figures of how it scales."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from adapter.bench.load import Latency, Load, Result, Usage
from tests.bench import scale
from tests.bench.scale_plot import svg

NOTHING = Usage(0.0, 0, 0)


def result(rate: float | None, p99: int = 9_000, **more: Any) -> Result:
    """1,000 calls in 2 s, all decided unless told otherwise."""
    latency = Latency(1_000, 5_000, p99, p99, 20_000)
    given = {"offered": 1_000, "outcomes": {"decided": 1_000}, "cpu": {"adapter 1": 100.0, "source": 50.0}}
    given |= {"seconds": 2.0, "latency": latency, "added": latency, "before": NOTHING, "after": NOTHING}
    return Result(**{"load": Load(rate), **given, **more})


def test_a_step() -> None:
    cpu = {"adapter 1": 100.0, "consumer 1": 30.0, "consumer 2": 50.0}
    step = scale.Step(2, result(None, cpu=cpu))
    assert step.ideal == 800
    assert step.least == 0.75
    text = scale.markdown("by x", [step], [], None)
    assert "| 2 | 500 | 62% | 100.0% | 0.75 | 0.00 |" in text


@pytest.mark.parametrize(
    ("found", "carried"),
    [
        (result(500), True),
        (result(500, p99=2_000_000), False),
        (result(500, outcomes={"decided": 999, "timeout": 1}), False),
    ],
)
def test_what_is_carried_is_decided_in_time(found: Result, carried: bool) -> None:
    assert scale.carried(found) is carried


def test_adapters_are_told_together() -> None:
    found = result(500, cpu={"adapter 1": 100.0, "adapter 2": 20.0, "RabbitMQ": 7.0, "source": 5.0})
    assert "| 500 | 100.0% | 1.0 / 9.0 | 120 | 0 | 7 | 0 | 5 | 0.00 |" in scale.markdown(
        "", [], [found], found
    )


def test_each_move_has_its_time() -> None:
    done = []

    class Ground:
        def add_adapter(self) -> None:
            done.append("add")

    moves = scale.Moves(Ground(), lambda what: None)  # type: ignore[arg-type]
    moves._plan[1:] = [(18.0, "drain", lambda: done.append("drain"))]
    for left, wanted in ((36.0, []), (27.5, []), (26.9, ["add"]), (20.0, ["add"]), (1.0, ["add", "drain"])):
        moves(left)
        assert done == wanted


def test_the_picture_is_one() -> None:
    root = ET.fromstring(svg([(1, 370.0, 400.0), (8, 2_900.0, 3_200.0)]))
    assert sum(each.tag.endswith("circle") for each in root) == 2
    assert "3,200" in {each.text for each in root}


def test_options_that_fit_nothing(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["--only", "x"],
        ["--markdown", str(tmp_path / "none")],
        ["--only", "nodes", "--markdown", "x"],
    ):
        with pytest.raises(SystemExit):
            scale.options(words)
        assert "error" in capsys.readouterr().err

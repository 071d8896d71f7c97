"""The drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from adapter.bench.load import Latency
from adapter.bench.plot import HEIGHT, LINES, WIDTH, svg
from tests.bench_tool.made import result

if TYPE_CHECKING:
    from adapter.bench.load import Result

XML = "{http://www.w3.org/2000/svg}"


def drawn(*results: Result) -> ElementTree.Element:
    return ElementTree.fromstring(svg(results, "a <title> & more"))


def texts(drawing: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in drawing.iter(f"{XML}text")]


def lines(drawing: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """The points of each, p50 first."""
    found = [line.attrib["points"].split() for line in drawing.iter(f"{XML}polyline")]
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in line)] for line in found]


def test_a_line_for_each_percentile_from_the_lowest_load_to_the_highest() -> None:
    drawing = drawn(result(None, answered=90_000), result(2_000.0), result(500.0))
    assert "a <title> & more" in texts(drawing)
    assert {name for name, _, _ in LINES} <= set(texts(drawing))
    for line in lines(drawing):
        places = [x for x, _ in line]
        assert len(places) == 3
        assert places == sorted(places)
    low, *_, high = lines(drawing)
    assert all(below > above for (_, below), (_, above) in zip(low, high, strict=True))


def test_the_scale_is_logarithmic() -> None:
    every = [result(rate, latency=Latency(*[ms * 1_000] * 5)) for rate, ms in ((1, 1), (2, 10), (3, 100))]
    (_, one), (_, ten), (_, hundred) = lines(drawn(*every))[0]
    assert one - ten == pytest.approx(ten - hundred, abs=0.2)
    assert {"1", "2", "5", "10", "20", "50", "100"} <= set(texts(drawn(*every)))


@pytest.mark.parametrize("microseconds", [0, 1, 1_000, 2_000, 179_999_999])
@pytest.mark.parametrize("rate", [0.1, 7.0, 500.0, 100_000.0])
def test_any_one_load_stays_within_the_drawing(rate: float, microseconds: int) -> None:
    latency = Latency(*[microseconds] * 5)
    for line in lines(drawn(result(rate, latency=latency))):
        assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in line)


def test_a_load_that_was_too_much_has_hollow_dots() -> None:
    sound, too_much = result(500.0), result(5_000.0, outcomes={"decided": 4_000, "timeout": 1_000})
    fills = [dot.attrib["fill"] for dot in drawn(sound, too_much).iter(f"{XML}circle")]
    assert [fill == "#fff" for fill in fills] == [False, True] * len(LINES)
    assert any("hollow" in text for text in texts(drawn(sound, too_much)))
    assert not any("hollow" in text for text in texts(drawn(sound)))


def test_nothing_was_answered_in_saturation() -> None:
    assert lines(drawn(result(None, answered=0)))

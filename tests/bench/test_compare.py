"""The comparison's own figures and words; the servers it compares are not started here."""

from __future__ import annotations

import io
import signal
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.bench import compare, ways
from tests.bench.compare import Load, Row
from tests.bench.service import TAKES, decide
from tests.harness.sipp import SippResult

if TYPE_CHECKING:
    from pathlib import Path


def row(way: str = "adapter", codes: dict[int, int] | None = None, times: tuple[float, ...] = ()) -> Row:
    codes = {486: 1000} if codes is None else codes
    answered = sum(codes.values())
    return Row(Load(50, 1000), way, SippResult(1000, answered, 1000 - answered, 0, codes, times))


def test_only_all_calls_are_100_percent() -> None:
    assert row().decided == "100 %"
    assert row(codes={486: 999, 503: 1}).decided == "99.9 %"
    assert row(codes={503: 1000}).decided == "0 %"
    result = SippResult(100_000, 99_999, 1, 0, {486: 99_999}, ())
    assert Row(Load(0, 1), "adapter", result).decided == "99.9 %"


def test_times_are_in_milliseconds_and_may_be_missing() -> None:
    times = tuple(number / 1000 for number in range(1000, 2000))
    assert row(times=times).cells == ("50 ms", "1,000", "evapi-adapter", "100 %", "1,500", "1,990")
    assert row(codes={}).cells[3:] == ("0 %", "none", "none")


def test_a_line_tells_what_else_callers_got() -> None:
    told = row("http_client", {486: 400, 503: 90, 408: 1}, (0.004,)).told
    assert told == (
        "50 ms, 1,000 calls/s, http_client module: 40 % decided, p50 4 ms, p99 4 ms; 1 got 408; 90 got 503"
    )


def test_both_tables_have_every_row() -> None:
    rows = [row(way, times=(0.004,)) for way in ways.WAYS]
    assert compare.markdown(rows).splitlines()[1:3] == [
        "| --: | --: | --- | --: | --: | --: |",
        "| 50 ms | 1,000 | `http_client` module | 100 % | 4 | 4 |",
    ]
    console = Console(file=(out := io.StringIO()), width=80)
    console.print(compare.table(rows))
    shown = out.getvalue()
    assert all(title.replace("`", "") in shown for title in ways.TITLES.values())


def test_the_options() -> None:
    chosen = compare.options([])
    assert chosen.rates == [Load(0, 200), Load(0, 1000), Load(50, 50), Load(50, 200), Load(50, 1000)]
    assert (chosen.seconds, chosen.ways) == (10, ["http_client", "rabbitmq", "adapter", "embedded"])
    chosen = compare.options(["--rates", "5:10,20", "--seconds", "3", "--ways", "adapter"])
    assert (chosen.rates, chosen.ways) == ([Load(5, 10), Load(5, 20)], ["adapter"])


@pytest.mark.parametrize(
    "wrong",
    [["--rates", text] for text in ("50", "x:1", "50:", "50:0", "-1:5", "2000:5", "0:5001")]
    + [["--seconds", "0"], ["--seconds", "101"], ["--ways", "sip"]],
)
def test_what_cannot_be_measured_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        compare.options(wrong)
    assert wrong[0] in capsys.readouterr().err


def test_a_missing_module_is_told_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ways, "modules_folder", lambda: tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert compare.main(["--ways", "http_client", "adapter"]) == 2
    told = capsys.readouterr().err
    assert "http_client.so is missing: apt-get install kamailio-utils-modules" in told
    assert "rabbitmq" not in told
    (tmp_path / "http_client.so").touch()
    assert ways.missing(["http_client", "rabbitmq"]) == {"rabbitmq.so": "kamailio-rabbitmq-modules"}
    assert ways.missing(["adapter", "embedded"]) == {}


async def test_the_decision_takes_the_time_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("tests.bench.service.asyncio.sleep", sleep)
    monkeypatch.setenv(TAKES, "50")
    assert (await decide())["code"] == compare.DECIDED
    monkeypatch.setenv(TAKES, "0")
    assert (await decide())["code"] == compare.DECIDED
    assert waited == [0.05]

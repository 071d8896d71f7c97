"""The comparison's own words and arithmetic; what it measures is started by ``make bench``."""

from __future__ import annotations

import io
import math
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from adapter.bench.ground import BenchError
from adapter.bench.load import Latency, Load, Result, Usage
from tests.bench import edges, figures, growth, rows, trips
from tests.bench.compare import Load as SipLoad
from tests.bench.compare import Row as SipRow
from tests.bench.figures import SECTIONS, Section, Seen
from tests.bench.replies import Brought
from tests.bench.rows import FIGURES, Row, Spent
from tests.bench.stage import QUICK, Effort, Stage, cpu_model
from tests.harness.process import HarnessError
from tests.harness.sipp import SippResult

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    Main = Callable[..., tuple[int, str]]


def result(
    cpu: float = 100.0, p50: int = 2_000, p99: int = 4_000, decided: int = 1000, memory: int = 50_000_000
) -> Result:
    latency = Latency(p50, p99, p99, p99, p99)
    outcomes = {"decided": decided, "unanswered": 1000 - decided}
    usage = Usage(1.0, memory, memory)
    spent = {"adapter 1": cpu, "consumer 1": 60.0, "consumer 2": 40.0, "source": 50.0, "Redis": 5.0}
    return Result(Load(500, 2.0), 1000, outcomes, 2.0, latency, latency, spent, usage, usage, busy=1.9)


def test_every_figure_is_measured_by_one_section() -> None:
    names = [name for section in SECTIONS for name in section.names]
    assert sorted(names) == sorted(FIGURES)


def test_cost_is_of_the_calls_that_were_decided() -> None:
    assert rows.cost(result(100.0)) == 100
    assert rows.cost(result(100.0, decided=500)) == 200
    assert rows.cost(result(decided=0)) == math.inf


def test_where_a_bridge_falls_behind_the_count_is_against_us_and_for_plain() -> None:
    behind = replace(result(100.0), answered=500)
    assert (rows.cost(behind), rows.cost(behind, lenient=True)) == (200, 100)
    assert rows.cost(result(decided=0), lenient=True) == math.inf
    assert not rows.kept_up([result(), behind])
    assert rows.fell_behind([result(), behind]) == ", 250/s answered"
    assert rows.fell_behind([behind, result(decided=990)]) == ", 99 % decided"
    flat_out = replace(behind, load=Load(None, 2.0))
    assert rows.kept_up([flat_out])
    assert rows.fell_behind([flat_out]) == ""


def test_of_several_runs_the_one_in_the_middle_counts() -> None:
    assert rows.middle([result(30.0), result(10.0), result(20.0)]).cpu["adapter 1"] == 20
    assert rows.middle([result(10.0), result(9.0, decided=500)]).cpu["adapter 1"] == 10


def trip_rows(rate: int, ours: list[Result], plain: list[Result]) -> dict[str, Row]:
    return {row.name: row for row in trips._trip_rows(rate, ours, plain, "")}


def test_at_the_low_rate_cpu_and_both_latencies_are_held_against_plain() -> None:
    found = trip_rows(500, [result(80.0)], [result(100.0)])
    assert (found["cpu-500"].met, found["cpu-500"].ratio) == (True, 0.8)
    assert found["latency-500"].met
    assert not trip_rows(500, [result(81.0)], [result(100.0)])["cpu-500"].met
    assert not trip_rows(500, [result(p50=2_300)], [result()])["latency-500"].met
    assert not trip_rows(500, [result(p99=4_500)], [result()])["latency-500"].met


def test_at_the_high_rate_there_are_bounds_beside_plain() -> None:
    found = trip_rows(2000, [result(200.0, p99=10_000)], [result(400.0)])
    assert found["cpu-2000"].met
    assert found["latency-2000"].met
    assert not trip_rows(2000, [result(200.0)], [result(390.0)])["cpu-2000"].met
    assert not trip_rows(2000, [result(201.0)], [result(900.0)])["cpu-2000"].met
    assert not trip_rows(2000, [result(p99=10_001)], [result()])["latency-2000"].met


def test_calls_that_were_not_decided_are_told_and_meet_nothing() -> None:
    found = trip_rows(500, [result(10.0, decided=900)], [result(100.0, decided=800)])
    assert found["cpu-500"].seen == "11 us, 90 % decided"
    assert found["cpu-500"].plain == "125 us, 80 % decided"
    assert found["cpu-500"].met is found["latency-500"].met is False


def test_a_bridge_of_which_nothing_is_known_gives_no_number() -> None:
    for row in trip_rows(500, [result()], []).values():
        assert (row.met, row.ratio, row.cells[-1]) == (None, None, "not measured")
    found = trip_rows(500, [result()], [result(decided=0)])
    assert (found["cpu-500"].met, found["cpu-500"].ratio) == (False, None)


def climbed(first: int, fails: set[int], highest: int) -> tuple[int, list[int]]:
    """What a climb finds where ``highest`` is sustained; each rate in ``fails`` fails once nevertheless."""
    climb = trips.climb(first, 1_000, 250, 10_000)
    tried = [next(climb)]
    left = set(fails)
    while True:
        passed = tried[-1] <= highest and tried[-1] not in left
        left.discard(tried[-1])
        try:
            tried.append(climb.send(passed))
        except StopIteration as done:
            return done.value, tried


@given(st.integers(0, 44), st.sampled_from([1_000, 2_000]), st.sets(st.integers(1, 40).map((250).__mul__)))
def test_the_climb_finds_the_highest_rate_to_its_step(steps: Any, first: Any, fails: Any) -> None:
    highest = steps * 250
    found, tried = climbed(first, fails, highest)
    assert found == min(highest, 10_000)
    assert len(tried) <= 2 * 15


def test_a_failure_is_believed_when_it_is_seen_twice() -> None:
    assert climbed(1_000, {1_000}, 1_100) == (1_000, [1_000, 1_000, 2_000, 2_000, 1_500, 1_500, 1_250, 1_250])


def test_sustained_is_99_of_100_within_50_ms() -> None:
    assert trips.sustains(result(p99=49_999, decided=990))
    assert not trips.sustains(result(p99=50_000))
    assert not trips.sustains(result(decided=989))


def test_what_grows_is_flat_within_a_fifth() -> None:
    assert growth._flat("nodes", {"1": [result(100.0)], "20": [result(120.0)]}).met
    assert not growth._flat("nodes", {"1": [result(100.0)], "20": [result(121.0)]}).met
    assert not growth._flat("nodes", {"1": [result()], "20": [result(decided=998)]}).met


def soaked(memory: list[float]) -> Row:
    loads = [result(memory=int(each * 1_000_000)) for each in memory]
    return next(each for each in growth.soak_rows(loads, 60.0) if isinstance(each, Row))


def test_a_soak_is_flat_once_it_is_warm() -> None:
    flat = soaked([40.0] * 10 + [60.0] * 20)
    assert (flat.met, flat.seen) == (True, "+0 KB a minute, +0.0 MB over the last 20 of 30 minutes")
    leak = soaked([50.0 + 0.2 * minute for minute in range(30)])
    assert (leak.met, leak.seen) == (False, "+200 KB a minute, +3.8 MB over the last 20 of 30 minutes")
    assert not list(growth.soak_rows([result()], 60.0))


def test_a_short_soak_can_show_growth_but_not_that_there_is_none() -> None:
    short = soaked([50.0] * 29)
    assert short.met is None
    assert short.seen.endswith("of 29 minutes: too short, 30 minutes tell")
    assert soaked([50.0 + minute for minute in range(9)]).met is False


def test_replies_are_all_to_arrive() -> None:
    quick, slow = Brought(20_000, 20_000, 0.5, 0.2), Brought(20_000, 20_000, 2.0, 0.4)
    assert edges._brought("replies", [quick, slow, quick]).met
    assert not edges._brought("replies", [slow, slow, quick]).met
    lost = edges._brought("replies", [quick, quick, Brought(20_000, 19_999, 0.5, 0.2)])
    assert (lost.met, lost.seen) == (False, "40,000/s, 1 of 60,000 lost")


def test_sip_is_held_to_all_calls_and_75_ms() -> None:
    def row(way: str, decided: int, seconds: float) -> SipRow:
        times = (seconds,) * 1000
        return SipRow(SipLoad(50, 1000), way, SippResult(1000, decided, 0, 0, {486: decided}, times))

    others = {way: row(way, 400, 9.0) for way in ("http_client", "rabbitmq")}
    assert edges.sip_row({**others, "adapter": row("adapter", 1000, 0.072)}).met
    assert not edges.sip_row({**others, "adapter": row("adapter", 1000, 0.076)}).met
    late = edges.sip_row({**others, "adapter": row("adapter", 999, 0.06)})
    assert (late.met, late.seen) == (False, "99.9 % decided, p50 / p99 60 / 60 ms")
    assert "rabbitmq: 40 % decided, p50 / p99 9,000 / 9,000 ms" in late.note


def test_tables_have_every_row() -> None:
    found = [Row("cpu-2000", "180 us", True, "400 us", 0.45), Row("start-up", "0.4 s", False)]
    found.append(rows.unmeasured("nodes", "adapter 1 has ended:\nTraceback"))
    spent = [Spent("plain", "500/s", result())]
    console = Console(file=(out := io.StringIO()), width=200)
    console.print(rows.table(found))
    console.print(rows.spent_table(spent))
    shown = out.getvalue()
    text = rows.markdown(found, spent, "made here")
    assert "| 180 us | 400 us | 0.45 | yes |" in text
    assert "| 0.4 s |  |  | **no** |" in text
    assert "| not measured: adapter 1 has ended |  |  | not measured |" in text
    # Both consumers in one column; 255 us of CPU for each of 1,000 calls in 2 s.
    assert "| 500/s | plain | 100 % | 2.0 / 4.0 | 100 | 100 | 50 | 0 | 5 | 0.13 | 1.90 |" in text
    for row in found:
        assert row.seen in shown
        assert FIGURES[row.name].must in text


def test_what_stands_in_a_cell() -> None:
    assert rows.first_line("no call was answered within 15 s; it said last:\na|b") == (
        "no call was answered within 15 s"
    )
    assert rows.first_line("a|b") == "a/b"
    assert rows.first_line("") == "str"
    assert (rows.percent(0.9999), rows.percent(1.0), rows.percent(0.29)) == ("99.9 %", "100 %", "29 %")


def test_only_what_is_between_the_markers_is_replaced() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert rows.replaced(text, "x", "new") == "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb\n"
    for wrong in ("", "<!-- x -->", "<!-- /x --><!-- x -->", text + text):
        with pytest.raises(ValueError, match="once"):
            rows.replaced(wrong, "x", "new")


def test_a_section_that_fails_tells_so_in_the_rows_it_still_owes() -> None:
    def run(stage: Stage | None, effort: Effort) -> Generator[Row]:
        yield Row("memory-idle", "66 MB", True)
        raise BenchError("adapter 1 has ended:\nTraceback")

    seen = Seen()
    seen.take(Section(("memory-idle", "memory-call"), run), run(None, QUICK), lambda _: None)
    assert [(row.name, row.met) for row in seen.rows] == [("memory-idle", True), ("memory-call", None)]
    assert seen.rows[1].seen == "not measured: adapter 1 has ended"


def test_options() -> None:
    assert [s.names[0] for s in figures.options([]).sections] == [s.names[0] for s in SECTIONS[:-1]]
    assert [s.names for s in figures.options(["--only", "soak"]).sections] == [("soak",)]
    assert figures.options(["--soak", "5"]).sections == list(SECTIONS)
    assert [s.names[0] for s in figures.options(["--only", "in-flight", "nodes"]).sections] == [
        "memory-idle",
        "nodes",
    ]


@pytest.mark.parametrize("wrong", [["--only", "all"], ["--soak", "0"], ["--markdown", "/nowhere/x.md"]])
def test_wrong_options(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        figures.options(wrong)
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_a_markdown_file_without_its_places_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.md"
    path.write_text("<!-- figures --><!-- /figures -->")
    with pytest.raises(SystemExit):
        figures.options(["--markdown", str(path)])
    assert "<!-- soak -->" in capsys.readouterr().err


class NoStage:
    """Stands in for the servers."""

    def __init__(self, folder: Any, started: Any, say: Any) -> None:
        self.say = say


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Main:
    """Run with these sections, without any server; gives the exit code and what the file then has."""

    def run(*sections: Section) -> tuple[int, str]:
        path = tmp_path / "some.md"
        path.write_text("<!-- figures --><!-- /figures -->\n<!-- soak --><!-- /soak -->")
        monkeypatch.setattr(figures, "SECTIONS", sections)
        monkeypatch.setattr(figures, "Stage", NoStage)
        monkeypatch.setattr(figures, "preface", lambda *_: "made here")
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        monkeypatch.setattr(structlog, "configure", lambda **_: None)
        return figures.main(["--markdown", str(path), "--soak", "1"]), path.read_text()

    return run


def test_a_run_writes_figures_and_soak_each_into_its_place(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = main(
        Section(("start-up",), lambda *_: (row for row in [Row("start-up", "0.1 s", True)])),
        Section(("soak",), lambda *_: (row for row in [Row("soak", "+1 KB", True)])),
    )
    assert code == 0
    assert text.index("0.1 s") < text.index("<!-- soak -->") < text.index("+1 KB")
    assert "0.1 s" in capsys.readouterr().out


def test_a_figure_not_met_is_exit_code_1(main: Main) -> None:
    code, text = main(Section(("start-up",), lambda *_: (row for row in [Row("start-up", "0.4 s", False)])))
    assert code == 1
    assert "**no**" in text
    assert text.endswith("<!-- soak --><!-- /soak -->"), "no soak was made: what is there stays"


def test_interrupted_it_tells_the_rows_so_far_and_leaves_the_file(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(stage: Stage, effort: Effort) -> Generator[Row]:
        yield Row("start-up", "0.1 s", True)
        raise KeyboardInterrupt

    code, text = main(Section(("start-up",), interrupted))
    assert code == 130
    assert "0.1 s" not in text
    assert "0.1 s" in capsys.readouterr().out


def test_the_processor_has_a_name(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    assert cpu_model(info)
    info.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert cpu_model(info) == "Some CPU @ 2 GHz"


def test_quick_differs_in_effort_alone() -> None:
    assert replace(QUICK, soak=1.0).quick
    assert QUICK.seconds < Effort().seconds


def test_missing_modules_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "missing", lambda _: {"rabbitmq.so": "kamailio-rabbitmq-modules"})
    with pytest.raises(HarnessError, match="apt-get install kamailio-rabbitmq-modules"):
        list(edges.sip(NoStage(None, None, None), QUICK))  # type: ignore[arg-type]

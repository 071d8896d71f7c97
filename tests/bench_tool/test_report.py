"""Table, CSV, JSON, and the warnings."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from adapter.bench import report
from adapter.bench.load import Latency, Load
from tests.bench_tool.made import result

LOST = {"decided": 4_000, "timeout": 900, "unanswered": 100}


class TestTable:
    def test_a_row_for_each_load(self) -> None:
        lines = report.table([result(), result(2_000.0), result(None)], 2).splitlines()
        assert lines[1].split() == [column.name for column in report.COLUMNS]
        assert [line.split()[0] for line in lines[2:5]] == ["500", "2,000", "max"]
        row = "500 500 100 % 1.50 3.00 4.50 12.3 150 1.40 4.40 200 100 50 950 70"
        assert lines[2].split() == row.split()

    def test_columns_stand_under_their_names_and_groups(self) -> None:
        groups, names, row, *_ = report.table([result()], 2).splitlines()
        ends = (
            groups.rindex("-") + 1,
            names.index("machine") + len("machine"),
            row.index(" 950 ") + len(" 950"),
        )
        assert len(set(ends)) == 1
        for group, first in ((report.LATENCY, "p50"), (report.CPU, "adapter")):
            assert groups.index(group) > names.index(first)

    def test_each_replica_on_its_own_and_consumers_together(self) -> None:
        cpu = {"adapter 1": 150.4, "adapter 2": 20.0, "source": 40.0}
        row = report.table([result(cpu=cpu)], 2).splitlines()[2].split()
        assert row[11:15] == ["150+20", "-", "40", "960"]

    def test_it_fits_a_terminal(self) -> None:
        rows = [result(), result(20_000.0, latency=Latency(*[30_000_000] * 5), outcomes=LOST)]
        assert max(map(len, report.table(rows, 2).splitlines()[:6])) <= 120

    def test_the_warnings_name_their_load(self) -> None:
        lines = report.table([result(), result(None, outcomes=LOST)], 2).splitlines()
        marked = [line for line in lines if line.startswith("!")]
        assert len(marked) == 3
        assert all(line.startswith("! saturation, 200 at a time: ") for line in marked)


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.99999, "99.9 %"), (0.5, "50 %"), (0.0, "0 %"), (0.57, "57 %")]
)
def test_a_share_is_100_only_where_it_is_all(share: float, text: str) -> None:
    assert report.percent(share) == text


@pytest.mark.parametrize(
    ("microseconds", "text"), [(0, "0.00"), (1_234, "1.23"), (12_345, "12.3"), (2_345_678, "2,346")]
)
def test_milliseconds(microseconds: int, text: str) -> None:
    assert report.ms(microseconds) == text


class TestWarnings:
    def test_none_of_a_sound_result(self) -> None:
        assert report.warnings(result(), 2) == []

    def test_calls_that_were_not_decided(self) -> None:
        unanswered, others, more = report.warnings(result(outcomes=LOST), 2)
        assert unanswered.startswith("100 calls got no answer")
        assert "timeout 900;" in others
        assert "unanswered" not in others
        assert "more than the installation carries" in more

    def test_one_stray_call_is_told_and_is_no_overload(self) -> None:
        (told,) = report.warnings(result(outcomes={"decided": 4_999, "timeout": 1}), 2)
        assert "timeout 1;" in told

    def test_a_source_that_is_late(self) -> None:
        (told,) = report.warnings(result(lag=Latency(1, 2, 5_001, 6_000, 7_000)), 2)
        assert "the source of calls began one call in a hundred 5.00 ms late" in told

    def test_a_source_that_uses_a_whole_core(self) -> None:
        cpu = {"adapter 1": 10.0, "source": 1_900.0}
        (told,) = report.warnings(result(cpu=cpu), 4)
        assert "the source of calls used a whole core" in told

    @pytest.mark.parametrize("changes", [{"busy": 1.95}, {"cpu": {"source": 1_800.0, "adapter 1": 2_000.0}}])
    def test_a_machine_that_is_fully_loaded(self, changes: dict[str, Any]) -> None:
        found = report.warnings(result(**changes), 2)
        assert any("the machine was fully loaded (1.9" in each for each in found)
        assert not any("fully loaded" in each for each in report.warnings(result(**changes), 4))

    def test_who_used_a_whole_core(self) -> None:
        cpu = {"consumer 1": 50.0, "consumer 10": 1_990.0, "source": 5.0}
        assert report.warnings(result(cpu=cpu), 16) == [
            "consumer 10 used a whole core: that is what limits it"
        ]


class TestJson:
    def test_all_there_is(self) -> None:
        found = json.loads(json.dumps(report.as_json(result(outcomes=LOST), 2)))
        percentiles = {"p50": float, "p95": float, "p99": float, "p99_9": float, "max": float}
        latencies = dict.fromkeys(("latency_ms", "added_ms", "lag_ms"), percentiles)
        assert {name: type(value) for name, value in found.items() if name not in latencies} == {
            "rate": float,
            "seconds": float,
            "offered": int,
            "answered_per_second": float,
            "decided": float,
            "outcomes": dict,
            "cpu_us_per_call": dict,
            "machine_cpu_us_per_call": float,
            "cores": float,
            "machine_cores_busy": float,
            "peak_memory_bytes": dict,
            "warnings": list,
        }
        assert {
            name: {key: type(each) for key, each in found[name].items()} for name in latencies
        } == latencies
        assert found["latency_ms"]["p99_9"] == 12.34
        assert found["outcomes"] == LOST
        assert len(found["warnings"]) == 3

    def test_saturation_has_no_rate(self) -> None:
        assert report.as_json(result(None), 2)["rate"] is None

    def test_what_the_loads_share(self) -> None:
        assert report.common(Load(1.0, decision=0.05, payload=200)) == {
            "decision_ms": 50.0,
            "payload_bytes": 200,
            "window": 200,
            "warm_up": 2.0,
        }


class TestCsv:
    def test_rows_with_different_outcomes_have_the_same_columns(self) -> None:
        text = report.as_csv([result(), result(None, outcomes=LOST)], 2)
        first, second = csv.DictReader(io.StringIO(text))
        assert first.keys() == second.keys()
        assert (first["rate"], second["rate"]) == ("500.0", "max")
        assert (first["outcomes.timeout"], second["outcomes.timeout"]) == ("0", "900")
        assert first["latency_ms.p99"] == "4.5"
        assert first["cpu_us_per_call.adapter 1"] == "200.0"
        assert first["warnings"] == ""
        assert second["warnings"].count("; ") >= 2

    def test_a_line_a_row(self) -> None:
        assert report.as_csv([result(outcomes=LOST)] * 3, 2).count("\n") == 4

"""What the matrix makes of what it saw."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import pytest

from tests.matrix.parts import Part, parts
from tests.matrix.results import Result, Results, counted
from tests.matrix.roots import KEPT, SUITES, kept_folder, packages
from tests.matrix.table import BEGIN, document, row
from tests.matrix.versions import ASKED
from tests.matrix.within import PROJECT, command

if TYPE_CHECKING:
    from pathlib import Path

PART = Part("kamailio-sid", ("Kamailio",), "sid", ("-m", "pytest", "tests/kamailio"), "`tests/kamailio`")
GOOD = Result({"Kamailio": "6.1.5", "Redis": "8.0.6"}, True, 230, (), 61.4, "2026-11-28", "abc1234")
REPORT = """<testsuites><testsuite name="pytest">
<testcase name="test_good"/><testcase name="test_left"><skipped/></testcase>
<testcase name="test_bad"><failure/></testcase><testcase name="test_bad"><error/></testcase>
</testsuite></testsuites>"""


def test_parts_have_names_of_their_own_and_files_that_there_are() -> None:
    found = list(parts())
    assert len({part.name for part in found}) == len(found)
    for part in found:
        assert part.suite in SUITES
        assert set(part.about) <= set(ASKED)
        for word in part.words:
            assert not word.startswith("tests/") or (PROJECT / word).exists(), word


@pytest.mark.parametrize("suite", SUITES)
def test_every_program_is_tried_in_every_suite_that_has_it(suite: str) -> None:
    about = {name for part in parts() if part.suite == suite for name in part.about}
    has = set(ASKED) if "valkey-server" in packages(suite) else set(ASKED) - {"Valkey"}
    assert about == has


def test_one_part_is_chosen_by_its_name() -> None:
    assert [part.name for part in parts() if fnmatch(part.name, "valkey-*")] == [
        "valkey-trixie",
        "valkey-sid",
    ]


def test_a_row_shows_the_versions_that_it_is_about() -> None:
    shown = "| Kamailio 6.1.5 | sid | `tests/kamailio` | 230 passed | 61 | 2026-11-28 abc1234 |"
    assert row(PART, GOOD) == shown
    assert row(PART, replace(GOOD, passed=0)).count("| passed |") == 1
    assert row(PART, None) == "| Kamailio | sid | `tests/kamailio` | not run | | |"


def test_a_failure_is_in_the_table_by_name() -> None:
    bad = replace(GOOD, good=False, passed=228, failed=("test_a", "test_b"))
    assert "| **2 of 230 failed**: `test_a`, `test_b` |" in row(PART, bad)
    many = replace(bad, failed=("a", "b", "c", "d", "e"))
    assert "`a`, `b`, `c` and 2 more" in row(PART, many)
    assert "| **failed** |" in row(PART, replace(bad, failed=()))
    assert "| **not to be had** |" in row(PART, replace(bad, note="not to be had"))


def test_what_is_written_by_hand_stays() -> None:
    once = document("# By hand\n\n", [(PART, GOOD)], "1 part took 1 minute.")
    assert once.startswith(f"# By hand\n\n{BEGIN}")
    assert document(once, [(PART, GOOD)], "1 part took 1 minute.") == once
    assert "230 passed" not in document(once, [(PART, None)], "")


def test_a_report_is_counted_and_one_that_is_missing_counts_nothing(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    assert counted(report) == (0, ())
    report.write_text(REPORT)
    assert counted(report) == (1, ("test_bad",))


def test_results_are_kept_between_runs(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    Results(file).put("one", GOOD)
    Results(file).put("two", replace(GOOD, failed=("test_a",)))
    assert Results(file).get("one") == GOOD
    assert Results(file).get("two") == replace(GOOD, failed=("test_a",))
    assert Results(file).get("three") is None


def test_where_things_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(KEPT, str(tmp_path))
    assert kept_folder() == tmp_path
    monkeypatch.delenv(KEPT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_folder() == tmp_path / "evapi-adapter" / "matrix"


def test_what_runs_inside_has_no_network_unless_it_asks_for_it(tmp_path: Path) -> None:
    assert "--net" in command(tmp_path, ["true"], inside=True)
    assert "--net" not in command(tmp_path, ["true"], inside=True, network=True)

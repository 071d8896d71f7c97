"""What the real Kamailio says of a configuration, told with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapter import kamailio
from adapter.admin import checks_kamailio_loads
from adapter.admin.checks_finding import Status
from tests.cli.command import evapi_adapter

OWN = """loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
include_file "routes.cfg"
request_route {{ {} }}
"""
ROUTES = "\nroute[ONE] {{ {} }}\n"


def written(folder: Path, main: str = 'sl_send_reply("200", "OK");', route: str = "drop;") -> str:
    (folder / "routes.cfg").write_text(ROUTES.format(route))
    (folder / "own.cfg").write_text(OWN.format(main))
    return str(folder / "own.cfg")


def test_one_that_loads(tmp_path: Path) -> None:
    path = written(tmp_path)
    (found,) = checks_kamailio_loads.check(path, {})
    assert (found.status, found.check) == (Status.OK, "loads")
    assert found.seen.startswith(f"{path}: kamailio ")


@pytest.mark.parametrize("name", ["kamailio.cfg", "plain.cfg"])
def test_those_that_come_along(name: str) -> None:
    (found,) = checks_kamailio_loads.check(str(kamailio.path(name)), {"SIP_WORKERS": "1"})
    assert found.status is Status.OK


def test_a_fault_in_an_included_file(tmp_path: Path) -> None:
    (found,) = checks_kamailio_loads.check(written(tmp_path, route="nosuch();"), {})
    assert (found.status, Path(found.file), found.line) == (Status.ERROR, tmp_path / "routes.cfg", 2)
    assert "failed to find command nosuch" in found.seen
    assert found.todo == f"mend line 2 of {found.file}"


def test_a_fault_without_a_line(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "routes.cfg").unlink()
    (found,) = checks_kamailio_loads.check(path, {})
    assert (found.status, found.file, found.line) == (Status.ERROR, path, 0)
    assert "cannot open included file: routes.cfg" in found.seen


def test_defines_are_given(tmp_path: Path) -> None:
    path = written(tmp_path, main="\n#!ifdef WRONG\nnosuch();\n#!endif\ndrop;")
    assert [each.status for each in checks_kamailio_loads.check(path, {})] == [Status.OK]
    assert [each.line for each in checks_kamailio_loads.check(path, {"WRONG": ""})] == [7]


def test_no_kamailio_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checks_kamailio_loads.check(written(tmp_path), {}) == []


def test_one_that_hangs_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kamailio").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "kamailio").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(checks_kamailio_loads, "LONGEST", 0.1)
    (found,) = checks_kamailio_loads.check(written(tmp_path), {})
    assert found.status is Status.UNKNOWN
    assert "no result within 0.1 s" in found.seen


def test_sarif_names_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, route="nosuch();")
    done = evapi_adapter("doctor", "--kamailio-cfg", path, "-o", "sarif")
    assert done.code == 1
    log = json.loads(done.out)
    (run,) = log["runs"]
    assert (log["version"], run["tool"]["driver"]["name"]) == ("2.1.0", "evapi-adapter doctor")
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules))
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
    (loads,) = [result for result in run["results"] if result["ruleId"] == "kamailio/loads"]
    assert loads["level"] == "error"
    assert loads["locations"] == [
        {"physicalLocation": {"artifactLocation": {"uri": "routes.cfg"}, "region": {"startLine": 2}}}
    ]


def test_annotations_of_github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = evapi_adapter("doctor", "--kamailio-cfg", written(tmp_path, route="nosuch();"), "-o", "github")
    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if "title=kamailio/loads" in line]
    assert line.startswith("::error file=routes.cfg,line=2,title=kamailio/loads::")
    assert line.endswith("%0Amend line 2 of routes.cfg")
    assert all(line.startswith("::") for line in done.out.splitlines())

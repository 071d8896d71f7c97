"""The lint on whole configurations: nothing in the good ones, in each bad one what was planted there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import adapter.kamailio
from adapter.kamailio.lint import RULES, lint
from tests.harness.kamailio import modules_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
GOOD = sorted((HERE / "good").glob("*.cfg"))
BAD = sorted((HERE / "bad").glob("*.cfg"))
NEWER = {"WITH_57": ""}
"""Parameters of EVAPI that Kamailio 5.6 does not know stand under this define."""
REFUSED = {
    "duplicate-route.cfg": "duplicate route",
    "evapi-not-loaded.cfg": "No module matching <evapi>",
    "duplicate-route-dialog.cfg": "duplicate route",
    "duplicate-route-uac.cfg": "duplicate route",
    "loaded-too-late.cfg": "No module matching <htable>",
    "loaded-too-late-function.cfg": "failed to find command xlog",
    "missing-module.cfg": "failed to find command jansson_set",
    "missing-module-cfgutils.cfg": "failed to find command check_route_exists",
    "missing-module-jsonrpcs.cfg": "failed to find command jsonrpc_exec",
    "missing-module-uac.cfg": 'error searching pvar "uac_req"',
    "missing-module-dialog.cfg": 'error searching pvar "dlg_var"',
    "missing-module-textops.cfg": "failed to find command remove_hf",
    "missing-module-tmx.cfg": "failed to find command t_precheck_trans",
    "relay-refused.cfg": "misused command sl_send_reply",
    "step-header-bare.cfg": "syntax error",
    "unreadable.cfg": "cannot open included file: carriers.cfg",
    "unreadable-comment.cfg": "syntax error",
}
"""Faults with which Kamailio itself does not start -> what it says."""


def name(path: Path) -> str:
    return path.name


def planted(path: Path) -> tuple[str, int]:
    """The rule that a file breaks, as it says itself, and in which line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    marks = [re.match(r"\s*# The next line: (\S+)$", line) for line in lines]
    ((rule, number),) = [(mark[1], number) for number, mark in enumerate(marks, start=2) if mark]
    return rule, number


@pytest.mark.parametrize("path", BAD, ids=name)
def test_exactly_the_planted_fault_is_found(path: Path) -> None:
    rule, line = planted(path)
    found = lint(path, defines=NEWER, replicas=2)
    assert [(one.rule, one.file, one.line) for one in found] == [(rule, str(path), line)]
    assert re.match(rule + r"\b", path.stem)
    assert all(one.what.endswith(".") and one.why.endswith(".") for one in found)


def test_each_rule_is_planted_somewhere() -> None:
    assert {planted(path)[0] for path in BAD} == set(RULES)


@pytest.mark.parametrize("path", GOOD, ids=name)
@pytest.mark.parametrize("version", [None, (5, 6), (5, 8), (6, 1)])
def test_nothing_is_found_in_a_good_one(path: Path, version: tuple[int, int] | None) -> None:
    assert lint(path, version=version) == []


@pytest.mark.parametrize("shipped", ["kamailio.cfg", "kemi.cfg", "plain.cfg"])
@pytest.mark.parametrize(
    "defines",
    [
        {},
        {"WITH_SCREENING": ""},
        dict.fromkeys(
            ["WITH_REGISTER", "WITH_MESSAGE", "WITH_SUBSCRIBE", "WITH_REINVITE", "WITH_ACCOUNTING"], ""
        ),
        {"ADAPTER_CALLS": ""},
        {"ADAPTER_COMMANDS": ""},
        {"ADAPTER_COMMANDS": "", "ADAPTER_CALLS": ""},
        {"EVAPI_BIND": '"10.1.2.3:9000"'},
        {"ADAPTER_MAX_LINKS": "20"},
        {"ADAPTER_STEP_HEADER": '"X-Decided-By"'},
    ],
)
@pytest.mark.parametrize("version", [None, (5, 6), (6, 1)])
def test_nothing_is_found_in_the_shipped_ones(
    shipped: str, defines: Mapping[str, str], version: tuple[int, int] | None
) -> None:
    assert lint(adapter.kamailio.path(shipped), defines=defines, version=version) == []


def test_plain_says_what_it_goes_without(tmp_path: Path) -> None:
    text = adapter.kamailio.read("plain")
    plain = tmp_path / "plain.cfg"
    plain.write_text(re.sub(r"# evapi-adapter: accept .*", "#", text), encoding="utf-8")
    assert {one.rule for one in lint(plain)} == {"no-receipts", "no-gate", "no-cancel"}


def test_the_shipped_ones_as_users_copy_them(tmp_path: Path) -> None:
    for one in adapter.kamailio.names():
        shutil.copy(adapter.kamailio.path(one), tmp_path)
    assert lint(tmp_path / "kamailio.cfg") == []


def checked(path: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """What Kamailio itself says to a configuration."""
    command = ["kamailio", "-c", "-f", str(path), "-L", str(modules_folder()), "-Y", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("path", [*GOOD, *BAD], ids=name)
def test_kamailio_itself_takes_it(path: Path, tmp_path: Path) -> None:
    """The faults are not of the kind that Kamailio finds, but for those it is known to refuse."""
    done = checked(path, tmp_path)
    if path.name in REFUSED:
        assert done.returncode != 0
        assert REFUSED[path.name] in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert not re.findall("ERROR|CRITICAL", done.stderr), done.stderr


def test_nothing_is_found_in_debians_own_with_the_include(tmp_path: Path) -> None:
    """The file that Debian's package installs, with the lines that README asks for."""
    for one in adapter.kamailio.names():
        shutil.copy(adapter.kamailio.path(one), tmp_path)
    text = Path("/etc/kamailio/kamailio.cfg").read_text(encoding="utf-8")
    changes = {
        'loadmodule "acc.so"\n': 'loadmodule "acc.so"\nloadmodule "jansson.so"\nloadmodule "htable.so"\n'
        'loadmodule "evapi.so"\n',
        "####### Routing Logic ########\n": 'modparam("evapi", "bind_addr", "127.0.0.1:8448")\n'
        'include_file "evapi-adapter.cfg"\n',
        "\t\tif (t_check_trans()) {\n\t\t\troute(RELAY);\n": "\t\tif (t_check_trans()) {\n"
        "\t\t\troute(ADAPTER_CANCEL);\n\t\t\troute(RELAY);\n",
        "\t### requests for my local domains\n": '\t$var(event) = "invite_request"; $var(data) = "{}";\n'
        '\tjansson_set("string", "call_id", "$ci", "$var(data)");\n'
        '\tif (is_method("INVITE")) route(ADAPTER_ASK);\n',
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    text += "\nroute[RESUME] {\n\troute(ADAPTER_ROUTE);\n\troute(LOCATION);\n}\n"
    text += 'route[NO_DECISION] {\n\tt_reply("503", "No Decision");\n}\n'
    path = tmp_path / "kamailio.cfg"
    path.write_text(text, encoding="utf-8")
    for version in (None, (5, 6), (6, 1)):
        assert lint(path, version=version) == []
    assert checked(path, tmp_path).returncode == 0


TIMED = """
import sys, time
from pathlib import Path
from adapter.kamailio.lint import lint

def took(work):
    begun = time.process_time()
    found = work()
    return found, time.process_time() - begun

_, reference = took(lambda: sum(i * i % 7 for i in range(4_000_000)))
found, seconds = took(lambda: lint(Path(sys.argv[1])))
print(len(found), seconds / reference)
"""
SECOND = 4.3
"""Such sums of an idle core of an AMD EPYC in a second (0.23 s each, Python 3.11): a busy one takes longer
for both. The file takes 2.9 to 3.4."""


def test_much_of_it_takes_under_a_second(tmp_path: Path) -> None:
    for one in adapter.kamailio.names():
        shutil.copy(adapter.kamailio.path(one), tmp_path)
    path = tmp_path / "kamailio.cfg"
    text = path.read_text(encoding="utf-8")
    route = """route[P{0}] {{
    if (is_method("REGISTER") && $ua =~ "x") {{ xlog("L_INFO", "$ci $ru $si\\n"); exit; }}
    if ($avp(a{0}) == "1" and not has_totag()) {{ $var(x) = $avp(s:b) + "c"; append_hf("X: $var(x)\\r\\n"); }}
    switch ($var(y)) {{ case "a": setflag(5); break; default: setflag(6); }}
}}
"""
    count = 200_000 // len(route)
    calls = "".join(f"\troute(P{number});\n" for number in range(count))
    text = text.replace("# (*) Ask, and leave", f"route[ALL] {{\n{calls}}}\n# (*) Ask, and leave", 1)
    text = text.replace("\troute(DESCRIBE);\n", "\troute(ALL);\n\troute(DESCRIBE);\n", 1)
    text += "".join(map(route.format, range(count)))
    path.write_text(text, encoding="utf-8")
    # In a process of its own: make coverage traces every line of this one.
    done = subprocess.run(
        [sys.executable, "-c", TIMED, str(path)], capture_output=True, text=True, check=True
    )
    found, sums = done.stdout.split()
    assert found == "0"
    assert float(sums) < SECOND

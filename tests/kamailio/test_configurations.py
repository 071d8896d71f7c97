"""The packaged files: found, read, and valid on this machine's Kamailio."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

import adapter.kamailio
from tests.harness.kamailio import modules_folder

if TYPE_CHECKING:
    from pathlib import Path


def test_names() -> None:
    assert adapter.kamailio.includes() == [
        "evapi-adapter-calls.cfg",
        "evapi-adapter-commands.cfg",
        "evapi-adapter.cfg",
    ]
    assert adapter.kamailio.names() == [
        *adapter.kamailio.includes(),
        "kamailio.cfg",
        "kemi.cfg",
        "kemi.py",
        "plain.cfg",
    ]


@pytest.mark.parametrize("name", ["plain", "plain.cfg"])
def test_read(name: str) -> None:
    assert adapter.kamailio.read(name).startswith("#!KAMAILIO\n")
    assert adapter.kamailio.path(name).name == "plain.cfg"


@pytest.mark.parametrize("name", ["nothing", "../__init__.py", "", "kamailio.cfg/.."])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(KeyError):
        adapter.kamailio.read(name)


def test_the_plain_configuration_emits_the_colon_form() -> None:
    text = adapter.kamailio.read("plain")
    assert '"invite_request:$T(id_index):$T(id_label):$(var(data){s.encode.base64})"' in text
    assert 'jansson_get("tm_trans.tm_index", "$evapi(msg)", "$var(tmidx)")' in text
    assert 't_continue("$var(tmidx)", "$var(tmlabel)", "RESUME")' in text


@pytest.mark.parametrize("name", [name for name in adapter.kamailio.names() if name.endswith(".cfg")])
def test_variables_go_to_functions_in_quotes(name: str) -> None:
    """Unquoted, the value is read as a format: a caller could write $env(...) into a header."""
    code = "\n".join(line.split("#")[0] for line in adapter.kamailio.read(name).splitlines())
    assert not re.findall(r"\b(?:jansson|evapi|t_|sl_|append)\w*\((?:[^()]*, *)?\$", code)


@pytest.mark.parametrize("name", ["kamailio.cfg", "kemi.cfg", "plain.cfg", "as a user copies them"])
@pytest.mark.parametrize(
    "define",
    [
        "",
        "WITH_SCREENING",
        "WITH_REGISTER",
        "ADAPTER_COMMANDS",
        "ADAPTER_CALLS",
        'EVAPI_BIND="127.0.0.1:9000"',
    ],
)
def test_kamailio_takes_it(tmp_path: Path, name: str, define: str) -> None:
    file = tmp_path / "kamailio.cfg"
    if name in adapter.kamailio.names():
        file = adapter.kamailio.path(name)
    else:
        for one in adapter.kamailio.names():
            (tmp_path / one).write_text(adapter.kamailio.read(one), encoding="utf-8")
    command = ["kamailio", "-c", "-f", str(file), "-L", str(modules_folder()), "-Y", str(tmp_path)]
    command += ["-A", define] if define else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.findall("ERROR|CRITICAL|WARNING", done.stderr), done.stderr

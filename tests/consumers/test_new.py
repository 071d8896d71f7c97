"""``evapi-adapter new``: what it writes is tested, typed, and decides, as it stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml
from yamllint import config, linter

from adapter.contract import service_queue
from consumers import route
from consumers.new import NameRefused, create
from tests.harness.process import Process

if TYPE_CHECKING:
    from tests.consumers.asker import Asker

ROOT = Path(__file__).parents[2]
FILES = [
    "my_service.py",
    "tests/test_my_service.py",
    "pyproject.toml",
    "Dockerfile",
    "values.yaml",
    "README.md",
]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, as the command makes it."""
    into = tmp_path_factory.mktemp("new")
    done = command("new", "my-service", at=into)
    assert (done.returncode, done.stderr) == (0, "Next: cd my-service && pip install -e '.[dev]' && pytest\n")
    assert done.stdout.split() == [f"my-service/{path}" for path in FILES]
    return into / "my-service"


def command(*arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "adapter.cli", *arguments],
        cwd=at, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def run(made: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=made, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass(made: Path) -> None:
    assert "3 passed" in run(made, "pytest", "-q", "-p", "no:cloudcoil", "-p", "no:cacheprovider")


def test_its_types_hold(made: Path) -> None:
    assert "no issues found in 2 source files" in run(made, "mypy", "--cache-dir", str(made.parent / "mypy"))


async def test_it_decides_a_request(made: Path, apart: tuple[str, Asker]) -> None:
    url, asker = apart
    words = [sys.executable, "-m", "consumers", "my_service:service", "--amqp-url", url]
    with Process("my-service", words, made.parent, {"PYTHONPATH": f"{made}:{ROOT}"}):
        assert await asker.reply(await asker.ask("invite_request")) == route("sip:1@gw1.example.net")


def test_the_chart_and_the_image_take_it(made: Path) -> None:
    text = (made / "values.yaml").read_text()
    values = yaml.safe_load(text)
    schema = json.loads((ROOT / "helm/evapi-adapter/values.schema.json").read_text())
    jsonschema.validate(
        values["consumers"], {**schema["properties"]["consumers"], "$defs": schema.get("$defs", {})}
    )
    assert (
        list(linter.run(text, config.YamlLintConfig("extends: default\nrules: {document-start: disable}")))
        == []
    )
    done = subprocess.run([BIN / "hadolint", made / "Dockerfile"], capture_output=True, text=True)
    assert done.stdout == ""
    names = (values["consumers"][0]["module"], values["consumers"][0]["queue"])
    assert names == ("my_service:service", service_queue("my_service"))


def test_it_overwrites_nothing(made: Path) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    done = command("new", "my-service", at=made.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "evapi-adapter: NAME: my-service is there already: take another name, or move it away\n"
    )
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "name, told",
    [
        ("My_Service", "'My_Service' cannot be a name: write small letters, digits and -"),
        ("../other", "cannot be a name"),
        ("my-", "cannot be a name"),
        ("x" * 41, "at most 40"),
        ("json", "Python has a module json; write for example my-json"),
        ("import", "Python has a module import"),
        ("consumers", "Python has a module consumers"),
        ("tests", "write for example my-tests"),
    ],
)
def test_a_name_that_would_not_do_is_refused(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(NameRefused, match=told):
        create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(FileNotFoundError):
        create("my-service", gone)

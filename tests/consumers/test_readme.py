"""Everything that consumers/README.md says of Python is done here as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consumers import Result, allow, load, reject, route
from consumers.__main__ import parser
from consumers.testing import Undecided, ask
from tests.harness.process import Process, free_port
from tests.harness.readme import CONSUMERS
from tests.harness.until import until

if TYPE_CHECKING:
    from tests.consumers.asker import Asker

ROOT = Path(__file__).parents[2]
PAGE = CONSUMERS.read_text()
PYTHON = PAGE.partition("\n## Python\n")[2].partition("\n## ")[0]
FILES = dict(re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", PYTHON, re.MULTILINE | re.DOTALL))
SETTINGS = '[tool.pytest.ini_options]\nasyncio_mode = "auto"\npythonpath = ["."]\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files."""
    made = tmp_path_factory.mktemp("readme")
    for name, text in FILES.items():
        (made / name).write_text(text)
    (made / "pyproject.toml").write_text(SETTINGS)
    return made


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_snippet_is_left_out() -> None:
    assert len(FILES) == len(re.findall("^```python$", PYTHON, re.MULTILINE)) == 4


def test_its_tests_pass(folder: Path) -> None:
    quiet = ("-q", "-p", "no:cloudcoil", "-p", "no:cacheprovider")
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")  # unset, it is warned of
    assert "4 passed" in run(folder, "pytest", *quiet, *scope)


def test_its_types_hold(folder: Path) -> None:
    found = run(folder, "mypy", "--strict", "--cache-dir", str(folder / "cache"), *FILES)
    assert "no issues found in 4 source files" in found


async def test_its_command_runs_and_tells_what_the_tables_say(folder: Path, apart: tuple[str, Asker]) -> None:
    url, asker = apart
    (line,) = re.findall(r"^python -m (consumers .* --http .*)$", PYTHON, re.MULTILINE)
    port = free_port()
    words = shlex.split(line.replace("127.0.0.1:9465", f"127.0.0.1:{port}"))
    env = {"EVAPI_AMQP_URL": url, "PYTHONPATH": f"{folder}:{ROOT}"}
    with Process("readme", [sys.executable, "-m", *words], folder, env):
        assert await asker.reply(await asker.ask("invite_request")) == route("sip:gw1.example.net")
        await asker.reply(await asker.ask("screening_request"))  # its data do not fit
        text = await _metrics(port)
    for name in re.findall(r"`(evapi_\w+)`", PYTHON):
        assert re.search(rf"^# TYPE {name.removesuffix('_total')}\w* ", text, re.MULTILINE), name
    assert 'evapi_consumer_outcomes_total{outcome="failed",service="typed_service"} 1.0' in text
    for outcome in Result:
        assert f'outcome="{outcome}",service="my_service"' in text
        assert f"`{outcome}`" in PYTHON


async def _metrics(port: int) -> str:
    def read(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, ""
        except OSError:
            return 0, ""

    await until(lambda: read("/readyz")[0] == 200)
    return read("/metrics")[1]


def test_the_smallest_service_decides_as_it_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import asyncio, my_service\n"
        "from consumers.testing import ask\n"
        "print(asyncio.run(ask(my_service.service, 'invite_request', {'user': '9991'})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"},
    )  # fmt: skip
    assert done.stdout.strip() == str(reject(403, "Forbidden"))


def test_the_flags_are_those_of_the_command() -> None:
    flags = {flag for action in parser()._actions for flag in action.option_strings}
    told = set(re.findall(r"^\| `(--[a-z-]+)`", PYTHON, re.MULTILINE))
    assert told == {flag for flag in flags if flag.startswith("--")} - {"--help"}


def test_the_contents_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert len(links) > 6
    assert set(links) <= headings
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    contents = PAGE.partition("\n## ")[0]
    assert [title for title in titles if f"[{title}](".lower() not in contents.lower()] == []


async def test_several_services_on_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = PAGE.partition("\n## Several services on one call\n")[2].partition("\n## ")[0]
    ((name, text),) = re.findall(r"^```python\n# (\S+)\.py\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    rating = load(f"{name}:service")
    good, bad = ({"fraud": {"action": "allow", "score": score}} for score in (0.1, 0.95))
    assert await ask(rating, "invite_request", {}, decisions=good) == allow()
    assert await ask(rating, "invite_request", {}, decisions=bad) == reject(603, "Decline")
    found = await ask(rating, "invite_request", {"review": 1}, decisions=bad)
    assert found == allow(reviewed=True, final=True)
    with pytest.raises(Undecided, match="there is no decision of fraud"):
        await ask(rating, "invite_request", {})

"""A file of the user's with a name of ours gets a sentence, not silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cli.command import environment, evapi_adapter

if TYPE_CHECKING:
    import pytest

COMMAND = str(Path(sys.executable).with_name("evapi-adapter"))
SERVICE = """
from consumers import Service, allow
service = Service("my_service")
@service.on("invite_request")
async def decide(request):
    return allow()
"""
AWAY = {"EVAPI_AMQP_URL": "amqp://127.0.0.1:1"}


def test_consume_says_which_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "consumers.py").write_text(SERVICE)
    (tmp_path / "select.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    for name in ("consumers", "select"):
        done = evapi_adapter("consume", f"{name}:service", **AWAY)
        assert done.code == 2
        assert (
            f"evapi-adapter consume: there is no {name}:service: {tmp_path / name}.py is not read" in done.err
        )
        assert done.err.endswith(": rename it\n")


def test_run_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "mine.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    done = evapi_adapter("run", "--consumer", "adapter.mine:service")
    assert done.code == 2
    assert f"there is no module 'adapter.mine': {tmp_path / 'adapter'} is not read" in done.err


def test_a_service_that_imports_from_such_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "__init__.py").write_text("x = 1")
    (tmp_path / "service_of_clash.py").write_text("from adapter import x")
    monkeypatch.chdir(tmp_path)
    done = evapi_adapter("consume", "service_of_clash:service", **AWAY)
    assert done.code == 2
    assert f"{tmp_path / 'adapter'} is not read, since 'adapter' is " in done.err


def test_todays_form_names_the_folder_that_python_takes(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "consumers", "x:service"],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: {tmp_path / 'adapter' / '__init__.py'} has the name of a package")


def test_an_own_folder_without_a_clash_is_found(tmp_path: Path) -> None:
    (tmp_path / "my_service.py").write_text(SERVICE.replace("allow()", "allow("))
    done = subprocess.run(
        [COMMAND, "consume", "my_service:service"],
        cwd=tmp_path,
        env=environment(AWAY),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 2
    assert "my_service cannot be imported: SyntaxError" in done.stderr

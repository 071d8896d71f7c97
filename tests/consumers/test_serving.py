"""``python -m consumers``: health, metrics and reloading of a real process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from adapter.contract import service_queue
from consumers import reloading
from tests.consumers.asker import numbers
from tests.harness.process import Process, free_port
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.consumers.asker import Asker
    from tests.harness.rabbitmq import RabbitServer

SERVICE = """
import logging
from consumers import Request, Service, route

service = Service("{name}")


@service.on("{event}")
async def decide(request: Request):
    logging.getLogger("mine").info("deciding")
    return route("sip:{user}@gw")
"""


class Served:
    """A service in a folder, run by the command."""

    def __init__(self, folder: Path, url: str, *more: str) -> None:
        number = next(numbers)
        self.name, self.event = f"served{number}", f"served_{number}"
        self.path = folder / f"my_service{number}.py"
        self.port = free_port()
        self.write("1")
        command = [sys.executable, "-m", "consumers", f"{self.path.stem}:service", "--amqp-url", url]
        http = ["--http", f"127.0.0.1:{self.port}", "--log", "json"]
        self.process = Process(self.name, [*command, *http, *more], folder, {"PYTHONPATH": str(folder)})

    def write(self, user: str) -> None:
        self.path.write_text(SERVICE.format(name=self.name, event=self.event, user=user))

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read().decode()
        except OSError as exc:
            return 0, str(exc)


@pytest.fixture
def served(tmp_path: Path, rabbitmq: RabbitServer) -> Iterator[Served]:
    made = Served(tmp_path, rabbitmq.url)
    with made.process:
        yield made


async def test_health_metrics_and_log(served: Served, asker: Asker) -> None:
    await until(lambda: served.get("/readyz")[0] == 200)
    assert json.loads(served.get("/readyz")[1]) == {"status": "ready", "checks": {served.name: True}}
    assert served.get("/livez")[0] == 200
    id_ = await asker.ask(served.event)
    assert await asker.reply(id_) == {"action": "route", "uri": "sip:1@gw"}
    text = served.get("/metrics")[1]
    assert f'evapi_consumer_outcomes_total{{outcome="decided",service="{served.name}"}} 1.0' in text
    assert f'evapi_consumer_ready{{service="{served.name}"}} 1.0' in text
    assert "process_cpu_seconds_total" in text
    assert served.process.stop() == 0  # by now it has written its log
    entries = [json.loads(line) for line in served.process.log.read_text().splitlines()]
    (entry,) = [entry for entry in entries if entry["event"] == "deciding"]
    assert (entry["service"], entry["correlation_id"], entry["level"]) == (served.name, id_, "info")
    await asker.channel.queue_delete(service_queue(served.name))


async def test_it_lives_and_is_not_ready_while_rabbitmq_is_away(tmp_path: Path) -> None:
    made = Served(tmp_path, f"amqp://127.0.0.1:{free_port()}/")
    with made.process:
        await until(lambda: made.get("/readyz")[0] == 503)
        assert json.loads(made.get("/readyz")[1]) == {"status": "degraded", "checks": {made.name: False}}
        assert made.get("/livez")[0] == 200


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    made = Served(tmp_path, "amqp://127.0.0.1:1/")
    with closing(socket.create_server(("127.0.0.1", made.port))):
        done = subprocess.run(made.process._command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"--http: cannot listen on 127.0.0.1:{made.port}: " in done.stderr
    assert "Traceback" not in done.stderr


async def test_it_starts_again_with_what_was_changed(
    tmp_path: Path, rabbitmq: RabbitServer, asker: Asker
) -> None:
    made = Served(tmp_path, rabbitmq.url, "--reload")

    async def decides(uri: str) -> bool:
        found: dict[str, Any] = await asker.reply(await asker.ask(made.event))
        return found["uri"] == uri

    with made.process:
        await until(lambda: made.get("/readyz")[0] == 200)
        assert await decides("sip:1@gw")
        made.path.write_text("not Python\n")
        await until(lambda: "cannot be imported: NameError" in made.process.tail())
        made.write("2")
        await until(lambda: made.get("/readyz")[0] == 200)
        assert await decides("sip:2@gw")
        assert made.process.stop() == 0
    assert made.get("/livez")[0] == 0, "nothing is left running"
    await asker.channel.queue_delete(service_queue(made.name))


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "watchfiles.py").write_text("raise ImportError('no module watchfiles')")
    for arguments, told in (
        (
            ["absent:service"],
            "--reload needs watchfiles (no module watchfiles): pip install 'evapi-adapter[reload]'",
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "consumers", *arguments, "--reload"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (2, f"python -m consumers: {told}\n")


def test_what_is_no_module_cannot_be_followed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "consumers", "absent:service", "--reload"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "there is no module 'absent'; for my_service.py in the current folder" in done.stderr


def test_what_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a module, of a package (with and without __init__.py), or of a webhook's settings."""
    for path in ("followed_module.py", "followed_package/__init__.py", "followed_folder/deep/service.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name, folder in {
        "followed_module:service": "",
        "followed_package.inner:service": "followed_package",
        "followed_folder.deep.service:service": "followed_folder",
        f"{tmp_path}/settings/webhook.toml": "settings",
    }.items():
        assert reloading._folder(name) == tmp_path / folder

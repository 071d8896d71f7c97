"""The command line as a user meets it: exit codes, help, and no traceback for a wrong setting."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adapter import kamailio
from adapter.errors import AdapterError
from tests.cli.command import environment, evapi_adapter, in_pipes
from tests.harness.process import Process, free_port

if TYPE_CHECKING:
    from adapter.settings import Settings

COMMAND = str(Path(sys.executable).with_name("evapi-adapter"))
VARIABLES = ("NODES", "AMQP_URL", "REDIS_URL", "CONSUMER", "POLICY", "HTTP", "REPLICA", "LOG")
HEAVY = {"aio_pika", "aiormq", "redis", "pydantic", "pydantic_settings", "aiohttp", "structlog", "uvloop"}
INSIDE = ("--consumer", "consumers.least_cost:service")


class TestHelp:
    def test_the_command(self) -> None:
        done = in_pipes("--help")
        assert (done.code, done.err) == (0, "")
        for word in ("run", "kamailio-cfg", "--version", "evapi-adapter run --consumer"):
            assert word in done.out

    @pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("kamailio-cfg", "--help")])
    def test_it_fits_80_columns_and_gives_an_example(self, words: tuple[str, ...]) -> None:
        code, out, err = evapi_adapter(*words)
        assert (code, err) == (0, "")
        assert max(map(len, out.splitlines())) <= 80
        assert "evapi-adapter" in out.partition("Options:")[2]

    def test_each_option_of_run_names_its_variable(self) -> None:
        _, out, _ = evapi_adapter("run", "--help")
        words = " ".join(out.split())
        for name in VARIABLES:
            assert f"[env var: EVAPI_{name}]" in words
            assert f"--{name.lower().replace('_', '-')} " in words

    def test_without_a_command_it_helps_and_is_wrong_usage(self) -> None:
        done = in_pipes()
        assert done.code == 2
        assert "Usage: evapi-adapter" in done.out + done.err

    def test_the_version(self) -> None:
        assert evapi_adapter("--version") == (0, f"evapi-adapter {version('evapi-adapter')}\n", "")

    @pytest.mark.parametrize(
        ("words", "typers_own"),
        [("--help", ()), ("--version", ()), ("run --help", ("pydantic",)), ("kamailio-cfg", ("pydantic",))],
    )
    def test_it_does_not_wait_for_libraries_it_does_not_need(
        self, words: str, typers_own: tuple[str, ...]
    ) -> None:
        code = (
            "import sys\n"
            "from adapter.cli import main\n"
            "try: main()\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "print(*sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *words.split()],
            capture_output=True,
            text=True,
            timeout=50,
            env=environment({}),
            check=False,
        )
        assert done.stderr == ""
        assert HEAVY & set(done.stdout.splitlines()[-1].split()) <= set(typers_own)


WRONG_USAGE = [
    ("bogus",),
    ("--bogus",),
    ("run", "--bogus"),
    ("run", "--nodes"),
    ("run", "extra", *INSIDE),
    ("kamailio-cfg", "a", "b"),
]

WRONG_SETTINGS = [
    ("EVAPI_NODES", ("--nodes", "x", *INSIDE)),
    ("EVAPI_AMQP_URL", ("--amqp-url", "guest:hunter2@rabbit")),
    ("EVAPI_AMQP_URL", ("--amqp-url", "http://guest:hunter2@rabbit")),
    ("EVAPI_REDIS_URL", ("--redis-url", "guest:hunter2@redis", *INSIDE)),
    ("EVAPI_CONSUMER", ()),
    ("EVAPI_CONSUMER", (*INSIDE, "--amqp-url", "amqp://rabbit")),
    ("EVAPI_CONSUMER", ("--consumer", "least cost")),
    ("EVAPI_HTTP", ("--http", "9464", *INSIDE)),
    ("EVAPI_REPLICA", ("--replica", "a b", *INSIDE)),
    ("EVAPI_LOG", ("--log", "loud", *INSIDE)),
    ("EVAPI_LEASE", ("--set", "lease=0", *INSIDE)),
    ("EVAPI_PREFETCH", ("--set", "prefetch=many", *INSIDE)),
    ("EVAPI_COLOUR", ("--set", "colour=red", *INSIDE)),
    ("--set", ("--set", "lease", *INSIDE)),
    ("--set", ("--set", "=1", *INSIDE)),
    ("--set", ("--set", "nodes=h:1", *INSIDE)),
    ("--set", ("--set", "AMQP_URL=hunter2")),
    ("--set", ("--set", "amqp-url=hunter2")),
    ("--set", ("--set", "hunter2")),
]
MISPLACED = [
    ("run", "amqp://u:hunter2@h"),
    ("run", "--amqp-urls", "amqp://u:hunter2@h"),
    ("run", "--amqp-urls=amqp://u:hunter2@h"),
    ("run", "--set", "amqp_url=amqp://u:hunter2@h"),
    ("run", "--redis", "redis://:hunter2@h"),
    ("run", *INSIDE, "--", "redis://h?password=hunter2"),
]


class TestWrong:
    @pytest.mark.parametrize("words", WRONG_USAGE)
    def test_usage(self, words: tuple[str, ...]) -> None:
        code, out, err = evapi_adapter(*words)
        assert (code, out) == (2, "")
        assert "Error: " in err.splitlines()[-1]
        assert "Traceback" not in err

    @pytest.mark.parametrize(("variable", "words"), WRONG_SETTINGS)
    def test_settings(self, variable: str, words: tuple[str, ...]) -> None:
        code, out, err = evapi_adapter("run", *words)
        assert (code, out) == (2, "")
        assert err.startswith(f"evapi-adapter: {variable}: ")
        assert err.count("\n") == 1
        assert "hunter2" not in err

    @pytest.mark.parametrize("words", MISPLACED)
    def test_a_password_where_none_belongs_is_not_shown(self, words: tuple[str, ...]) -> None:
        assert evapi_adapter(*words) == (
            2,
            "",
            "evapi-adapter: a URL with a password belongs into "
            "EVAPI_AMQP_URL or EVAPI_REDIS_URL or EVAPI_AMQP_API\n",
        )

    @pytest.mark.parametrize("name", sorted(set(VARIABLES) - {"POLICY"}))
    def test_settings_in_the_environment(self, name: str) -> None:
        wrong = {f"EVAPI_{name}": "?hunter2" if name.endswith("URL") else "?"}
        code, out, err = evapi_adapter("run", *(() if name == "CONSUMER" else INSIDE), **wrong)
        assert (code, out) == (2, "")
        assert err.startswith(f"evapi-adapter: EVAPI_{name}: ")
        assert err.count("\n") == 1
        assert "hunter2" not in err

    def test_a_policy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "policy.toml").write_text("[default]\ndeadline = 'soon'\n")
        done = in_pipes("run", *INSIDE, EVAPI_POLICY="policy.toml")
        assert done.code == 2
        assert done.err == (
            'evapi-adapter: policy.toml, line 2, default.deadline: "soon" is no number of seconds; '
            "write deadline = 2.0, for example\n"
        )

    @pytest.mark.parametrize(
        "name", ["nosuch.module:service", "json:loads", "consumers.least_cost:nosuch", "broken:service"]
    )
    def test_a_consumer_that_cannot_be_loaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "broken.py").write_text("1 / 0\n")
        done = in_pipes("run", "--consumer", name)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("evapi-adapter: EVAPI_CONSUMER: ")
        assert done.err.count("\n") == 1

    def test_what_fails_while_running(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(settings: Settings) -> None:
            assert settings.lease == 2.0
            raise AdapterError("it broke")

        monkeypatch.setattr("adapter.app.main", fail)
        assert evapi_adapter("run", *INSIDE, "--set", "lease=2") == (1, "", "evapi-adapter: it broke\n")

    def test_a_port_that_is_taken_is_no_wrong_setting(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = in_pipes("run", *INSIDE, "--http", f"127.0.0.1:{port}")
        assert (done.code, done.out) == (1, "")
        assert "Traceback" not in done.err
        assert f"EVAPI_HTTP: cannot listen on 127.0.0.1:{port}" in done.err.splitlines()[-1]


class TestKamailioCfg:
    def test_they_are_listed(self) -> None:
        code, out, err = evapi_adapter("kamailio-cfg")
        assert (code, err) == (0, "")
        assert out.split() == kamailio.names()

    @pytest.mark.parametrize("name", kamailio.names())
    def test_each_is_printed_as_it_is(self, name: str) -> None:
        for given in (name, name.removesuffix(".cfg")):
            code, out, err = evapi_adapter("kamailio-cfg", given)
            assert (code, err) == (0, "")
            assert out == kamailio.path(name).read_text("utf-8")

    def test_all_of_them_into_a_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "proxy"
        for _ in range(2):
            code, out, err = evapi_adapter("kamailio-cfg", str(folder))
            assert (code, err) == (0, f"Next: kamailio -f {folder}/kamailio.cfg -DD -E\n")
            assert out.split() == [str(folder / name) for name in kamailio.names()]
        assert {path.name: path.read_text() for path in folder.iterdir()} == {
            name: kamailio.read(name) for name in kamailio.names()
        }

    def test_it_writes_over_nothing_that_differs(self, tmp_path: Path) -> None:
        (tmp_path / "kamailio.cfg").write_text("mine")
        code, out, err = evapi_adapter("kamailio-cfg", str(tmp_path))
        assert (code, out) == (1, "")
        assert f"{tmp_path}/kamailio.cfg: there already, and not the same" in err
        assert [path.name for path in tmp_path.iterdir()] == ["kamailio.cfg"]
        assert evapi_adapter("kamailio-cfg", str(tmp_path), "--force").code == 0
        assert (tmp_path / "kamailio.cfg").read_text() == kamailio.read("kamailio.cfg")

    @pytest.mark.parametrize("name", ["nosuch", "../kamailio/kamailio.cfg", "__init__.py", ""])
    def test_one_that_is_not_there(self, name: str) -> None:
        code, out, err = evapi_adapter("kamailio-cfg", name)
        assert (code, out) == (2, "")
        assert "kamailio.cfg" in err
        assert "Traceback" not in err


class TestRun:
    def test_until_sigterm_with_a_service_of_the_current_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "my_service.py").write_text(
            "from consumers import Service, allow\n"
            "service = Service('mine')\n"
            "@service.on('invite_request')\n"
            "async def decide(request):\n"
            "    return allow()\n"
        )
        port, nobody = free_port(), free_port()
        monkeypatch.chdir(tmp_path)
        words = ["run", "--consumer", "my_service:service", "--nodes", f"sbc1=127.0.0.1:{nobody}"]
        command = [COMMAND, *words, "--http", f"127.0.0.1:{port}", "--log", "json"]
        with Process("adapter", command, tmp_path, environment({})) as bridge:
            bridge.wait_until(lambda: alive(port), "/livez")
            assert bridge.stop(signal.SIGTERM) == 0
        entries = [json.loads(line) for line in bridge.log.read_text().splitlines()]
        assert [entries[0]["event"], entries[-1]["event"]] == ["started", "stopped"]
        assert entries[0]["nodes"] == [f"sbc1=127.0.0.1:{nobody}"]


def alive(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False

"""``evapi-adapter bench`` as a user meets it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pika
import pytest

from adapter.bench import servers
from adapter.bench.names import CALL, SERVICE, WAIT
from adapter.bench.run import Site
from adapter.cli import main
from adapter.contract import results_queue, service_queue
from adapter.relay.policy import parse_text
from tests.harness.process import free_port
from tests.simulator.client import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

    Typed = Callable[..., tuple[object, str, str]]

COMMAND = [str(Path(sys.executable).with_name("evapi-adapter")), "bench"]
SHORT = ("--seconds", "0.3", "--warm-up", "0.1")
SECRET = "hunter2"


def environment(**variables: str) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("EVAPI_")}
    return {**bare, "COLUMNS": "80", **variables}


def bench(*words: str, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        cwd=folder,
        env=environment(**variables),
        check=False,
    )


@contextlib.contextmanager
def begun(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Started, and ended in any case."""
    with subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def until_said(child: subprocess.Popen[str], begin: str) -> None:
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith(begin):
            return
    pytest.fail(f"it ended before it said {begin}")


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """The same with this process for a parent: exit code, stdout, stderr."""

    def run(*words: str, **variables: str) -> tuple[object, str, str]:
        for name in [name for name in os.environ if name.startswith("EVAPI_")]:
            monkeypatch.delenv(name)
        for name, value in {"COLUMNS": "80", **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["evapi-adapter", "bench", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0, *capsys.readouterr()

    return run


class TestEmbedded:
    def test_a_table_a_file_and_a_drawing(
        self, typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        files = ("--csv", "rows.csv", "--plot", "latency.svg")
        monkeypatch.chdir(tmp_path)
        code, out, err = typed("--rate", "150", "--rate", "max", "--window", "2", *SHORT, *files)
        assert code == 0, err
        title, _, _, names, first, second, *_ = out.splitlines()
        assert title.startswith("embedded broker, embedded store; 1 Kamailio, 1 adapter; decisions take 0 ms")
        assert names.split()[:3] == ["calls/s", "answered", "decided"]
        assert (first.split()[0], second.split()[0]) == ("150", "max")
        assert "100 %" in first
        with (tmp_path / "rows.csv").open() as written:
            assert [row["rate"] for row in csv.DictReader(written)] == ["150.0", "max"]
        assert ElementTree.parse(tmp_path / "latency.svg").getroot().tag.endswith("svg")
        said = err.splitlines()
        assert [line.partition(":")[0] for line in said if " of 2" in line] == ["1 of 2", "2 of 2"]
        assert said[-2:] == ["written: rows.csv", "written: latency.svg"]

    def test_json(self, typed: Typed) -> None:
        code, out, err = typed(
            "--rate", "100", *SHORT, "--decision", "50ms", "--nodes", "2", "--payload", "900", "--json"
        )
        assert code == 0, err
        found = json.loads(out)
        (row,) = found.pop("rows")
        assert found.pop("cores") >= 1
        assert found == {
            "broker": "embedded",
            "store": "embedded",
            "nodes": 2,
            "replicas": 1,
            "consumers": 0,
            "decision_ms": 50.0,
            "payload_bytes": 900,
            "window": 200,
            "warm_up": 0.1,
        }
        assert row["outcomes"] == {"decided": row["offered"]}
        assert row["latency_ms"]["p50"] >= 50
        assert row["added_ms"]["p50"] < row["latency_ms"]["p50"]

    def test_csv_to_stdout(self, typed: Typed) -> None:
        code, out, err = typed("--rate", "100", *SHORT, "--csv", "-")
        assert code == 0, err
        assert [row["rate"] for row in csv.DictReader(out.splitlines())] == ["100.0"]

    def test_the_shells_settings_do_not_count_and_set_does(self) -> None:
        done = bench(
            "--rate", "50", *SHORT, "--set", "lease=2", EVAPI_LEASE="x", EVAPI_NODES="?", EVAPI_HTTP="?"
        )
        assert done.returncode == 0, done.stderr

    def test_what_cannot_be_written_costs_no_rows(self, typed: Typed, tmp_path: Path) -> None:
        (tmp_path / "taken.svg").mkdir()
        taken = str(tmp_path / "taken.svg")
        code, out, err = typed("--rate", "50", *SHORT, "--plot", taken)
        assert code == 1
        assert "100 %" in out
        assert err.splitlines()[-1] == f"evapi-adapter: cannot write {taken}: Is a directory"


class TestServers:
    def test_rabbitmq_and_redis(
        self, typed: Typed, rabbitmq: RabbitServer, redis_server: RedisServer
    ) -> None:
        variables = {"EVAPI_AMQP_URL": rabbitmq.url, "EVAPI_REDIS_URL": redis_server.url}
        asked = ("--rate", "60", "--rate", "40", "--replicas", "2", "--consumers", "2", "--seconds", "0.5")
        code, out, err = typed(*asked, "--warm-up", "1", "--json", **variables)
        assert code == 0, err
        found = json.loads(out)
        assert (found["broker"], found["store"], found["consumers"]) == ("rabbitmq", "redis", 2)
        for row in found["rows"]:
            assert row["outcomes"] == {"decided": row["offered"]}
            assert set(row["cpu_us_per_call"]) == {
                *("adapter 1", "adapter 2", "consumer 1", "consumer 2", "source")
            }
        assert "bench" not in rabbitmq.eval("rabbit_amqqueue:list_names()")
        assert "bench" not in rabbitmq.eval('rabbit_binding:list(<<"/">>)')
        keys = redis_server.ask("KEYS", "evapi-bench:*")
        assert all(0 < redis_server.ask("TTL", key) <= 660 for key in keys)
        assert not [
            key for key in redis_server.ask("KEYS", "*bench1*") if not key.startswith(b"evapi-bench:")
        ]

    def test_the_services_queue_has_no_way_to_the_dead_letters_and_goes_by_itself(
        self, rabbitmq: RabbitServer
    ) -> None:
        for _ in range(2):  # the second finds what the first, killed, has left
            servers.prepare_rabbitmq(rabbitmq.url, 1)
            with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as other:
                other.channel().queue_declare(results_queue("bench1"), durable=True)
        arguments = rabbitmq.ctl("list_queues", "name", "arguments")
        (line,) = [line for line in arguments.splitlines() if line.startswith(service_queue("bench"))]
        assert '{"x-expires",60000}' in line
        assert "dead-letter" not in line
        servers.clear_rabbitmq(rabbitmq.url, 1)
        assert service_queue("bench") not in rabbitmq.eval("rabbit_amqqueue:list_names()")
        assert results_queue("bench1") not in rabbitmq.eval("rabbit_amqqueue:list_names()")

    def test_two_measurements_do_not_share_a_rabbitmq(self, rabbitmq: RabbitServer) -> None:
        words = ("--amqp-url", rabbitmq.url, "--rate", "20", "--seconds", "60")
        with begun(*words) as first:
            until_said(first, "1 of 1")
            done = bench(*words)
            assert done.returncode == 1
            assert done.stderr.splitlines()[-1].startswith(
                "evapi-adapter: evapi.decide.bench is in use: wait"
            )
            first.send_signal(signal.SIGINT)
            assert first.wait(TIMEOUT) == 1
        assert "bench" not in rabbitmq.eval("rabbit_amqqueue:list_names()")

    @pytest.mark.parametrize(
        ("name", "url"),
        [("RabbitMQ", "amqp://guest:{}@127.0.0.1:{}/"), ("Redis", "redis://:{}@127.0.0.1:{}/0")],
    )
    def test_one_that_is_away(self, typed: Typed, name: str, url: str) -> None:
        variable = {"RabbitMQ": "EVAPI_AMQP_URL", "Redis": "EVAPI_REDIS_URL"}[name]
        code, out, err = typed(*SHORT, **{variable: url.format(SECRET, free_port())})
        assert (code, out) == (1, "")
        looking, error = err.splitlines()
        assert looking == "looking for RabbitMQ and Redis"
        assert error.startswith(f"evapi-adapter: {name}")
        assert "start it, correct the URL, or give no URL" in error
        assert SECRET not in error

    def test_a_password_that_is_refused(self, typed: Typed, rabbitmq: RabbitServer) -> None:
        code, _, err = typed(*SHORT, EVAPI_AMQP_URL=rabbitmq.url.replace("guest@", f"{SECRET}@"))
        assert code == 1
        assert "the login was refused" in err
        assert SECRET not in err

    def test_the_url_from_a_file(self, typed: Typed, tmp_path: Path) -> None:
        url = tmp_path / "url"
        url.write_text(f"amqp://guest:{SECRET}@127.0.0.1:{free_port()}/\n")
        code, _, err = typed(*SHORT, EVAPI_AMQP_URL_FILE=str(url))
        assert code == 1
        assert "evapi-adapter: RabbitMQ: amqp://guest@127.0.0.1" in err
        code, _, err = typed(*SHORT, EVAPI_REDIS_URL_FILE=str(tmp_path / "none"))
        assert code == 2
        assert err.startswith("evapi-adapter: EVAPI_REDIS_URL_FILE: cannot read")

    def test_passwords_are_on_nobodys_command_line(self, rabbitmq: RabbitServer) -> None:
        with begun("--amqp-url", rabbitmq.url, "--rate", "20", "--seconds", "60") as child:
            until_said(child, "1 of 1")
            pids = [child.pid, *children(child.pid)]
            lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
            assert len(lines) == 4
            assert not any(b"guest" in line for line in lines)
            child.send_signal(signal.SIGTERM)
            assert child.wait(TIMEOUT) == 1


class TestInterrupted:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_the_rows_so_far(self, number: signal.Signals) -> None:
        with begun(
            "--rate", "50", "--rate", "60", *SHORT[2:], "--seconds", "0.6", "--rate", "70", "--json"
        ) as child:
            until_said(child, "2 of 3")
            pids = children(child.pid)
            child.send_signal(number)
            out, err = child.communicate(timeout=TIMEOUT)
        assert child.returncode == 1
        assert [row["rate"] for row in json.loads(out)["rows"]][:1] == [50.0]
        assert err.splitlines()[-1].startswith("evapi-adapter: interrupted: ")
        assert err.splitlines()[-1].endswith(" of 3 loads were measured")
        assert len(pids) == 2
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)

    def test_before_there_is_one(self) -> None:
        with begun("--rate", "50", "--seconds", "60") as child:
            until_said(child, "1 of 1")
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=TIMEOUT)
        assert (child.returncode, out) == (1, "")
        assert err == "evapi-adapter: interrupted: 0 of 1 loads were measured\n"

    def test_what_dies_is_told_after_the_rows(self) -> None:
        with begun("--rate", "50", "--rate", "60", "--warm-up", "0", "--seconds", "1") as child:
            until_said(child, "2 of 2")
            adapter = next(
                pid
                for pid in children(child.pid)
                if b"adapter.cli" in Path(f"/proc/{pid}/cmdline").read_bytes()
            )
            os.kill(adapter, signal.SIGKILL)
            out, err = child.communicate(timeout=TIMEOUT)
        assert child.returncode == 1
        assert "\n     50 " in out
        assert "\n     60 " not in out
        assert err.startswith("evapi-adapter: adapter 1 has ended with -9; it said last:")


WRONG = [
    ("--rate", ("--rate", "fast")),
    ("--rate", ("--rate", "0")),
    ("--rate", ("--rate", "nan")),
    ("--decision", ("--decision", "50")),
    ("--decision", ("--decision", "2h")),
    ("--decision", ("--decision", "61s")),
    ("--replicas", ("--replicas", "2")),
    ("--plot", ("--plot", "latency.png")),
    ("--plot", ("--plot", "no/such/folder/latency.svg")),
    ("--csv", ("--csv", "no/such/folder/rows.csv")),
    ("--csv", ("--csv", "-", "--json")),
    ("--set", ("--set", "lease")),
    ("--set", ("--set", "nodes=h:1")),
    ("--batch", ("--batch", "64", "--set", "policy=policy.toml")),
    ("EVAPI_LEASE", ("--set", "lease=x")),
    ("EVAPI_AMQP_URL", ("--amqp-url", "http://rabbit")),
    ("/no/such.toml", ("--set", "policy=/no/such.toml")),
]


class TestUsage:
    @pytest.mark.parametrize(("name", "words"), WRONG)
    def test_what_is_wrong_is_named_before_anything_starts(
        self, typed: Typed, name: str, words: tuple[str, ...]
    ) -> None:
        code, out, err = typed(*words)
        assert (code, out) == (2, "")
        assert err.startswith((f"evapi-adapter: {name}: ", f"evapi-adapter: {name} cannot be read: "))
        assert err.count("\n") == 1

    @pytest.mark.parametrize("words", ["--seconds 0", "--nodes 0", "--payload x", "--bogus"])
    def test_what_typer_finds(self, typed: Typed, words: str) -> None:
        code, out, err = typed(*words.split())
        assert (code, out) == (2, "")
        assert "Error: " in err

    def test_help(self) -> None:
        done = bench("--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert max(map(len, done.stdout.splitlines())) <= 80
        for word in (
            "evapi.decide.bench",
            "evapi-bench:*",
            "[env var: EVAPI_AMQP_URL]",
            "--plot latency.svg",
        ):
            assert word in " ".join(done.stdout.split())

    def test_a_site_in_words(self) -> None:
        assert str(Site()) == "embedded broker, embedded store; 1 Kamailio, 1 adapter"
        assert str(Site("amqp://h", "redis://h", 3, 2, 4)) == (
            "RabbitMQ, Redis; 3 Kamailios, 2 adapters, 4 consumers"
        )
        assert (
            str(Site(batch=64))
            == "embedded broker, embedded store; 1 Kamailio, 1 adapter, batches of up to 64"
        )

    def test_the_policy_of_batches(self) -> None:
        policy = parse_text(Site(batch=64).rules(3.5))
        assert [policy.plan(each).batch for each in (CALL, WAIT)] == [64, 64]
        assert [policy.plan(each).asked[0].name for each in (CALL, WAIT)] == [SERVICE, SERVICE]
        assert policy.plan(WAIT).deadline == 3.5
        assert parse_text(Site().rules(3.5)).default.batch == 1

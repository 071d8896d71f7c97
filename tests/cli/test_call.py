"""`evapi-adapter call`: what it shows, and its exit codes, with a gateway of its own in place of Kamailio."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import evapi_adapter, started
from tests.harness.kamailio import answers_options
from tests.harness.process import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def gateway() -> Iterator[int]:
    """The gateway alone, which rings for a moment."""
    port = free_port(socket.SOCK_DGRAM)
    words = ("call", "--gateway", "--gateway-at", f"127.0.0.1:{port}", "--ring", "0.2", "-o", "jsonl")
    with started(*words) as child:
        wait_until(lambda: answers_options(port), "the gateway")
        yield port
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=10)
    assert (child.returncode, err) == (130, f"playing the gateway at udp:127.0.0.1:{port}\n")
    told = [json.loads(line) for line in out.splitlines()]
    assert {row["from"] for row in told} == {"proxy", "gateway"}
    assert "INVITE sip:4420@127.0.0.1" in {row["message"].rpartition(":")[0] for row in told}


def test_a_call_that_is_answered(gateway: int) -> None:
    done = evapi_adapter("call", "4420", "--server", f"127.0.0.1:{gateway}", "--no-gateway")
    assert (done.code, done.err) == (0, "")
    first, *_, last = done.out.splitlines()
    assert first.split() == ["caller", "proxy"]
    assert last.startswith("answered: 200 OK after ")
    for message in ("-- INVITE 4420@", "<- 180 Ringing -", "<- 200 OK -", "-- ACK ", "-- BYE "):
        assert message in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_as_json_with_the_messages_in_full(gateway: int) -> None:
    words = ("--server", f"127.0.0.1:{gateway}", "--no-gateway", "--whole", "-o", "json")
    done = evapi_adapter("call", "4420", *words, "--from", "alice", "--header", "X-Account: 42")
    told = json.loads(done.out)
    assert (done.code, told["result"], told["code"], told["reason"]) == (0, "answered", 200, "OK")
    assert told["seconds"] >= 0.2
    invite = told["messages"][0]
    assert (invite["from"], invite["to"], invite["at"] < 0.1) == ("caller", "proxy", True)
    assert "\r\nX-Account: 42\r\n" in invite["text"]
    assert "\r\nFrom: <sip:alice@127.0.0.1" in invite["text"]


def test_one_that_nobody_answers_in_time_is_cancelled(gateway: int) -> None:
    words = ("--server", f"127.0.0.1:{gateway}", "--no-gateway", "--timeout", "0.1", "-o", "json")
    done = evapi_adapter("call", "4420", *words)
    told = json.loads(done.out)
    assert (done.code, told["result"]) == (3, "silent")
    sent = [each["message"].split()[0] for each in told["messages"] if each["from"] == "caller"]
    assert sent == ["INVITE", "CANCEL", "ACK"]


@pytest.mark.parametrize(("expect", "code"), [((), 1), (("--expect", "486"), 0), (("--expect", "403"), 1)])
def test_the_exit_code_goes_by_what_is_expected(expect: tuple[str, ...], code: int) -> None:
    """The gateway that the same command plays is called at once: no proxy is between."""
    port = free_port(socket.SOCK_DGRAM)
    at = f"127.0.0.1:{port}"
    done = evapi_adapter("call", "4420", "--server", at, "--gateway-at", at, "--answer", "486", *expect)
    assert (done.code, done.err) == (code, f"playing the gateway at udp:{at}\n")
    assert done.out.splitlines()[-1].startswith("refused: 486 Busy Here after ")


def test_nobody_listens() -> None:
    port = free_port(socket.SOCK_DGRAM)
    done = evapi_adapter("call", "4420", "--server", f"127.0.0.1:{port}", "--no-gateway")
    assert done.code == 1
    assert done.err == (
        f"evapi-adapter: nobody listens at udp:127.0.0.1:{port}: start Kamailio there, or name another with "
        f"--server\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "NUMBER: is missing"),
        (
            ("4420", "--server", "nowhere"),
            "--server: 'nowhere' is no host:port; write for example 127.0.0.1:",
        ),
        (("44 20",), "NUMBER: '44 20' is neither a number nor a SIP URI"),
        (("4420", "--header", "X: a\r\nVia: b"), "--header: "),
    ],
)
def test_wrong_usage(words: tuple[str, ...], told: str) -> None:
    done = evapi_adapter("call", *words)
    assert done.code == 2
    assert told in done.err


def test_a_gateway_whose_port_is_taken_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        done = evapi_adapter("call", "4420", "--gateway", "--gateway-at", at)
    assert done.code == 1
    assert f"cannot take the UDP port {at}: Address already in use" in done.err

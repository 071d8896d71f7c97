"""Whom a connection may reach, and whose certificate is good."""

from __future__ import annotations

import ssl
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adapter.contract import Request
from adapter.watched import TableError
from consumers.webhook import files
from consumers.webhook.client import Client, NotDecided
from consumers.webhook.message import Call
from tests.harness.certificates import Authority
from tests.webhook.functions import LOOPBACK, Pointing, fixed, loaded, raw, serving

if TYPE_CHECKING:
    from consumers.webhook.files import Loaded
    from tests.harness.certificates import Identity

DECIDED = {"action": "allow"}
NAME = "decide.example.net"


async def ask(settings: Loaded, *addresses: str) -> object:
    """Ask once; gives the decision, or why there is none."""
    client = Client(settings, Counter(), Pointing(*addresses) if addresses else None)
    try:
        return await client.decide(Call(Request("e", "n", {}, 1, 2, 3, time.time() + 5), "id"))
    except NotDecided as exc:
        return str(exc)
    finally:
        await client.close()


async def test_a_name_that_points_to_this_machine_is_refused() -> None:
    async with serving(fixed()) as function:
        url = f"https://{NAME}:{function.port}/"
        told = await ask(loaded(url, more="", retry="[]"), "127.0.0.1")
        assert "127.0.0.1 is no address of the internet: if it is meant, add its network" in str(told)
    assert not function.connections


async def test_a_name_that_points_elsewhere_the_next_time_is_refused() -> None:
    """DNS rebinding: a look-up that is checked says nothing of the one that a connection goes by."""
    async with serving(fixed()) as function:
        url = f"http://{NAME}:{function.port}/"
        more = 'allow_networks = ["127.0.0.1", "127.0.0.3"]'
        assert await ask(loaded(url, more=more), "127.0.0.1") == DECIDED
        told = await ask(loaded(url, more=more), "127.0.0.3", "127.0.0.2")
        assert "127.0.0.2 is not in allow_networks" in str(told)
        assert len(function.asked) == 1


async def test_the_metadata_service_of_a_cloud_is_refused() -> None:
    told = await ask(loaded(f"https://{NAME}/", more=LOOPBACK, retry="[]"), "169.254.169.254")
    assert "169.254.169.254 is no address of the internet" in str(told)


async def test_an_address_that_is_no_name_is_checked_too() -> None:
    """No look-up is made for it: the check is the socket's."""
    async with serving(fixed()) as function:
        settings = loaded(f"http://127.0.0.1:{function.port}/")
        object.__setattr__(settings.hook, "allow_networks", ())
        assert "127.0.0.1 is not in allow_networks" in str(await ask(settings))
    assert not function.connections


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def serving_as(identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


@pytest.mark.server
async def test_a_server_that_the_authority_vouches_for(authority: Authority) -> None:
    more = f'{LOOPBACK}ca_file = "{authority.certificate}"\n'
    async with serving(fixed(), serving_as(authority.issue(NAME))) as function:
        assert await ask(loaded(f"https://{NAME}:{function.port}/", more=more), "127.0.0.1") == DECIDED
        told = await ask(loaded(f"https://other.example.net:{function.port}/", more=more), "127.0.0.1")
        assert "certificate refused: Hostname mismatch" in str(told)
        told = await ask(loaded(f"https://{NAME}:{function.port}/"), "127.0.0.1")
        assert "certificate refused" in str(told), "the system's authorities do not know it"
    assert len(function.asked) == 1


@pytest.mark.server
async def test_a_server_without_tls_is_asked_nothing(authority: Authority) -> None:
    more = f'{LOOPBACK}ca_file = "{authority.certificate}"\n'
    async with serving(fixed()) as function:
        told = await ask(loaded(f"https://{NAME}:{function.port}/", more=more), "127.0.0.1")
        assert "no connection" in str(told)
    assert not function.asked


async def test_a_handshake_that_is_not_answered() -> None:
    async with raw(b"", close=False) as (port, _):
        began = time.monotonic()
        settings = loaded(f"https://127.0.0.1:{port}/", connect_timeout=0.05, attempts=2)
        assert "no connection within 0.050 s (2 times)" in str(await ask(settings))
        assert time.monotonic() - began < 4, "the rest of the deadline is left to others"


def test_the_files_that_settings_name_are_looked_at(tmp_path: Path) -> None:
    text = """
        events = ["e"]
        urls = ["https://x/"]
        secrets = [{ file = "secret" }, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
        headers = { a = { file = "/run/token" }, b = "c" }
        ca_file = "ca.pem"
    """
    assert [*files.names(text, tmp_path)] == [tmp_path / "secret", Path("/run/token"), tmp_path / "ca.pem"]


def test_an_authority_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(TableError, match=r"ca_file: .*ca\.pem holds no PEM certificate"):
        loaded("https://x/", ca_file=f'"{tmp_path}/ca.pem"')
    with pytest.raises(TableError, match=r"ca_file: .*absent cannot be read: No such file"):
        loaded("https://x/", ca_file=f'"{tmp_path}/absent"')

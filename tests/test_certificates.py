"""Words for a refused certificate, by real refusals of OpenSSL."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from adapter.certificates import refusal
from tests.harness.certificates import KEY_USAGE, Authority

if TYPE_CHECKING:
    from pathlib import Path

CRITICAL = "basicConstraints=critical,CA:TRUE"


def refused(authority: Authority, name: str = "localhost") -> ssl.SSLCertVerificationError | None:
    """What a strict client says to a server of this authority, as Python 3.13 is one by default."""
    identity = authority.issue("localhost")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(identity.certificate, identity.key)
    strict = ssl.create_default_context(cafile=authority.certificate)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(there, back, server_side=True)
    client = strict.wrap_bio(back, there, server_hostname=name)
    for end in (client, server, client):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as exc:
            return exc
    return None


def test_ours_is_taken_by_a_strict_client(tmp_path: Path) -> None:
    assert refused(Authority(tmp_path)) is None


@pytest.mark.parametrize(
    "extensions, cure",
    [((), KEY_USAGE), ((KEY_USAGE, "basicConstraints=CA:TRUE"), CRITICAL)],
)
def test_what_only_a_strict_client_refuses_names_the_cure(
    tmp_path: Path, extensions: tuple[str, ...], cure: str
) -> None:
    told = refusal(refused(Authority(tmp_path, extensions=extensions)))
    assert told.startswith("certificate refused: ")
    assert f"openssl req -addext {cure}" in told
    assert refused(Authority(tmp_path, "cured", extensions=tuple({KEY_USAGE, cure}))) is None


def test_a_wrong_name_has_no_cure_of_ours(tmp_path: Path) -> None:
    told = refusal(refused(Authority(tmp_path), "elsewhere"))
    assert "Hostname mismatch" in told
    assert "openssl" not in told


def test_it_is_found_behind_other_errors(tmp_path: Path) -> None:
    cause = refused(Authority(tmp_path), "elsewhere")
    outer = OSError("cannot connect")
    outer.__cause__ = cause
    assert refusal(outer) == refusal(cause)
    assert refusal(OSError("no")) == refusal(None) == ""


def test_errors_that_are_each_other_s_cause_have_an_end() -> None:
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__context__ = second, first
    assert refusal(first) == ""
    assert refusal(None) == ""

"""Certificates for the tests: an authority of their own, and what it vouches for."""

from __future__ import annotations

import ipaddress
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]

KEY_USAGE = "keyUsage=critical,keyCertSign,cRLSign"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, both PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A private CA. Its files and those it issues are in ``folder``, their names starting with ``name``.

    ``extensions``: what its own certificate has beside openssl's defaults. Without a key usage, Python 3.13
    and later refuse it.
    """

    def __init__(self, folder: Path, name: str = "ca", extensions: Sequence[str] = (KEY_USAGE,)) -> None:
        self._folder = folder
        self._name = name
        self._own = self._files("")
        added = [word for each in extensions for word in ("-addext", each)]
        _openssl("req", "-x509", *KEY, "-subj", f"/CN={name}", *added, *_outputs(self._own))

    @property
    def certificate(self) -> Path:
        """What a client has to trust."""
        return self._own.certificate

    def issue(self, *names: str) -> Identity:
        """A server's identity, good for these host names and addresses. Its key is for its owner alone."""
        found = self._files(f"-{names[0]}")
        signed = ["-CA", str(self._own.certificate), "-CAkey", str(self._own.key)]
        good_for = ",".join(f"{_kind(name)}:{name}" for name in names)
        extensions = ["-addext", f"subjectAltName={good_for}", "-addext", "basicConstraints=CA:FALSE"]
        subject = ["-subj", f"/CN={names[0]}"]
        _openssl("req", "-x509", *KEY, *signed, *subject, *extensions, *_outputs(found))
        return found

    def _files(self, suffix: str) -> Identity:
        stem = f"{self._name}{suffix}"
        return Identity(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")


def _outputs(identity: Identity) -> Sequence[str]:
    return "-keyout", str(identity.key), "-out", str(identity.certificate)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def _kind(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "DNS"
    return "IP"

"""The settings with all that they name: secrets, tokens and authorities, read from their files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapter.watched import TableError
from consumers.webhook.settings import Hook, Source, check_secret, check_value, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, ready for use. What is secret is not shown by ``repr``.

    Args:
        hook: The settings.
        secrets: Each signs every request.
        headers: Beside those that the service itself sets.
        tls: For https://: certificate and name of the server are verified.
    """

    hook: Hook
    secrets: tuple[bytes, ...] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    tls: ssl.SSLContext = field(repr=False)


def load(text: str, folder: Path) -> Loaded:
    """Read the settings and the files that they name.

    Args:
        text: The TOML.
        folder: What relative paths are relative to: that of the TOML file.

    Raises:
        TableError: Something in them is wrong, or a file cannot be read. It names the key, and no secret.
    """
    hook = parse(text)
    secrets: list[bytes] = []
    for at, source in enumerate(hook.secrets):
        key = f"secrets[{at}]"
        secrets.append(check_secret(_value(source, key, folder), key))
    headers = {
        name: check_value(_value(source, f"headers.{name}", folder), f"headers.{name}")
        for name, source in hook.headers.items()
    }
    return Loaded(hook, tuple(secrets), headers, _tls(hook, folder))


def names(text: str, folder: Path) -> Iterator[Path]:
    """The files that the settings name. Raises TableError where ``text`` is no good."""
    hook = parse(text)
    for source in (*hook.secrets, *hook.headers.values()):
        if source.file:
            yield folder / source.file
    if hook.ca_file:
        yield folder / hook.ca_file


def _value(source: Source, key: str, folder: Path) -> str:
    if not source.file:
        return source.text
    path = folder / source.file
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as exc:
        raise TableError(f"{key}: {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise TableError(f"{key}: {path} is not ASCII") from None


def _tls(hook: Hook, folder: Path) -> ssl.SSLContext:
    if not hook.ca_file:
        return ssl.create_default_context()
    path = folder / hook.ca_file
    try:
        return ssl.create_default_context(cafile=str(path))
    except ssl.SSLError as exc:
        raise TableError(f"ca_file: {path} holds no PEM certificate: {exc.reason or exc}") from exc
    except OSError as exc:
        raise TableError(f"ca_file: {path} cannot be read: {exc.strerror}") from exc

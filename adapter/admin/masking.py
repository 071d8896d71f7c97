"""Payloads as they may be shown: secrets in them masked. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

MASK: Final = "***"
MAX_DEPTH: Final = 200
"""Levels that are looked into; what lies deeper is masked as a whole, since nobody has looked at it."""

_SECRET: Final = re.compile(
    r"password|passwd|passphrase|secret|token|authori[sz]ation|credential|cookie|apikey|privatekey"
    r"|accesskey|masterkey|^(?:pwd|pass|pin|pincode|auth|ha1|bearer|cryptokey|sdescrypto)$"
)
"""Of a key in small letters, without what separates its words."""
_SEPARATORS: Final = re.compile(r"[^a-z0-9]")
_LINE: Final = re.compile(
    r"""((?:proxy[-_]?)?authorization["']?\s{0,9}[:=]\s{0,9}["']?)[^\r\n"]+(?:"[^"\r\n]*"[^\r\n"]*)*""",
    re.IGNORECASE,
)
"""A header of SIP or HTTP: all of it, up to the end of the line; its value has quotes within."""
_PAIR: Final = re.compile(
    r"""((?:password|passwd|passphrase|secret|token|api[-_]?key|private[-_]?key)[\w-]{0,40}["']?\s{0,9}[:=]\s{0,9})"""
    r"""(?:"[^"\r\n]*"|'[^'\r\n]*'|[^\s"',;&}]+)""",
    re.IGNORECASE,
)
_LOGIN: Final = re.compile(
    r"""(\b[a-z][a-z0-9+.-]{0,20}:(?://)?[^\s:@/"'<>;?&=]{0,100}):[^\s:@/"'<>;?]{1,100}@""", re.IGNORECASE
)
"""The password of a URL: amqp://user:password@host, sip:user:password@host."""


def masked(value: Any) -> Any:
    """The same with secrets as ``***``: the values of keys such as password, secret, token,
    authorization or api_key at any depth, and within texts what looks like one of these.

    Maps, lists and texts are made anew, the value itself is left as it is. Bytes become text.
    """
    return _masked(value, 0)


def is_secret(key: object) -> bool:
    """Whether what goes by this name is not to be shown."""
    return isinstance(key, str) and _SECRET.search(_SEPARATORS.sub("", key.lower())) is not None


def masked_text(text: str) -> str:
    """The text without what looks like a secret in it: headers, pairs, logins of URLs."""
    text = _LINE.sub(rf"\1{MASK}", text)
    text = _PAIR.sub(rf"\1{MASK}", text)
    return _LOGIN.sub(rf"\1:{MASK}@", text)


def _masked(value: Any, depth: int) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        if depth >= MAX_DEPTH:
            return MASK
        return {key: _of(key, each, depth) for key, each in value.items()}
    if isinstance(value, Sequence):
        return MASK if depth >= MAX_DEPTH else [_masked(each, depth + 1) for each in value]
    return value


def _of(key: object, value: Any, depth: int) -> Any:
    """What a map holds under a key. That there is nothing is no secret."""
    if is_secret(key):
        return value if value is None or isinstance(value, bool) or value == "" else MASK
    return _masked(value, depth + 1)

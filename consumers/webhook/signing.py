"""Signatures by which a receiver knows that a request is genuine, fresh and whole. Pure.

They follow Standard Webhooks (standardwebhooks.com, specification 1.0), for which there are libraries in most
languages: ``webhook-signature`` holds ``v1,BASE64`` for each secret, separated by spaces, where BASE64 is
HMAC-SHA256 of ``ID.TIMESTAMP.BODY``. With two secrets there are two signatures, and a receiver needs to know
either: so that secrets change without a gap.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER_ID: Final = "webhook-id"
HEADER_TIMESTAMP: Final = "webhook-timestamp"
HEADER_SIGNATURE: Final = "webhook-signature"
PREFIX: Final = "whsec_"
LEAST: Final = 24
MOST: Final = 64
"""Bytes of a secret, by the specification."""
MAKE_ONE: Final = "make one by: echo whsec_$(openssl rand -base64 32)"


def parse_secret(text: str) -> bytes:
    """Return the bytes of a secret such as ``whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw``.

    Raises:
        ValueError: It is none. The text says what to do, and does not repeat the secret.
    """
    if not text.startswith(PREFIX):
        raise ValueError(f"does not begin with {PREFIX}; {MAKE_ONE}")
    try:
        found = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is no base64 after {PREFIX}; {MAKE_ONE}") from None
    if not LEAST <= len(found) <= MOST:
        raise ValueError(f"has {len(found)} bytes, {LEAST} to {MOST} are allowed; {MAKE_ONE}")
    return found


def message_id(name: str) -> str:
    """Return an id without full stops, which separate the parts that are signed.

    Args:
        name: The correlation id: the same for every attempt and delivery of one request.
    """
    return f"evapi_{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:32]}"


def signature(secrets: Sequence[bytes], id_: str, timestamp: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``.

    Args:
        secrets: Each signs.
        id_: The value of ``webhook-id``.
        timestamp: That of ``webhook-timestamp``, in epoch seconds.
        body: What is sent, byte for byte.
    """
    signed = b"%s.%d.%s" % (id_.encode(), timestamp, body)
    return " ".join(
        f"v1,{base64.b64encode(hmac.digest(each, signed, 'sha256')).decode()}" for each in secrets
    )

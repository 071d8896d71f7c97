"""Why a peer's certificate was refused, in words that name the cure. Pure."""

from __future__ import annotations

import ssl
from typing import Final

STRICT: Final = range(80, 94)
"""The codes of what only a strict verification refuses (OpenSSL's x509_vfy.h, X509_V_FLAG_X509_STRICT)."""
CURES: Final = {
    85: "authorityKeyIdentifier=keyid",
    86: "subjectKeyIdentifier=hash",
    89: "basicConstraints=critical,CA:TRUE",
    92: "keyUsage=critical,keyCertSign,cRLSign",
}
"""The extension that is missing, as openssl takes it by ``-addext``, by the code."""


def refusal(exc: BaseException | None) -> str:
    """Return why a certificate was refused, or an empty text if that is not why ``exc`` was raised.

    Python 3.13 and later verify strictly, by RFC 5280, what 3.12 let pass: an authority that someone made
    with a short openssl command is refused after an upgrade, so the text says what to add to it.
    """
    seen: set[int] = set()  # aiormq raises, while it handles one, an error that is that one's own cause
    while exc is not None and not isinstance(exc, ssl.SSLCertVerificationError):
        seen.add(id(exc))
        exc = exc.__cause__ or exc.__context__
        if id(exc) in seen:
            return ""
    if exc is None:
        return ""
    told = f"certificate refused: {exc.verify_message}"
    if exc.verify_code not in STRICT:
        return told
    cure = CURES.get(exc.verify_code)
    how = f" with {cure} (openssl req -addext {cure})" if cure else ""
    return f"{told}; Python 3.13 and later verify strictly (RFC 5280): issue it again{how}"

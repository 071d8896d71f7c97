"""Why a certificate was refused, in words: found wherever it stands among the causes of an error."""

from __future__ import annotations

import ssl

from adapter.certificates import refusal


def refused(code: int) -> ssl.SSLCertVerificationError:
    found = ssl.SSLCertVerificationError(1, "certificate verify failed")
    found.verify_code, found.verify_message = code, "CA cert does not include key usage extension"
    return found


def test_the_cure_is_named() -> None:
    outer = OSError("no connection")
    outer.__cause__ = refused(92)
    assert "-addext keyUsage=critical,keyCertSign,cRLSign" in refusal(outer)


def test_errors_that_are_each_other_s_cause_have_an_end() -> None:
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__context__ = second, first
    assert refusal(first) == ""
    assert refusal(None) == ""

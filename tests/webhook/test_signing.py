from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from consumers.webhook.signing import (
    HEADER_ID,
    HEADER_SIGNATURE,
    HEADER_TIMESTAMP,
    message_id,
    parse_secret,
    signature,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_as_the_reference_libraries_sign() -> None:
    now, body = datetime.now(tz=UTC), '{"test": "é"}'
    made = signature([parse_secret(SECRET)], "evapi_1", int(now.timestamp()), body.encode())
    assert made == Webhook(SECRET).sign("evapi_1", now, body)
    headers = {HEADER_ID: "evapi_1", HEADER_TIMESTAMP: str(int(now.timestamp())), HEADER_SIGNATURE: made}
    assert Webhook(SECRET).verify(body, headers) == {"test": "é"}


def test_each_secret_signs() -> None:
    old, new = parse_secret(SECRET), b"n" * 32
    assert signature([new, old], "a", 1, b"x").split() == [
        signature([new], "a", 1, b"x"),
        signature([old], "a", 1, b"x"),
    ]


@pytest.mark.parametrize(
    "text, told",
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "does not begin with whsec_"),
        ("whsec_not/base64!", "is no base64"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "has 23 bytes, 24 to 64"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "has 65 bytes"),
        ("whsec_é", "is no base64"),
    ],
)
def test_what_is_no_secret_is_told_and_not_shown(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        parse_secret(text)
    assert "openssl rand" in str(caught.value)
    assert text not in str(caught.value)


def test_an_id_has_no_full_stop_and_is_the_same_each_time() -> None:
    made = message_id("10.0.0.5:8448:1:2:3:tag")
    assert made == message_id("10.0.0.5:8448:1:2:3:tag")
    assert made != message_id("10.0.0.5:8448:1:2:4:tag")
    assert "." not in made

"""SIP messages (RFC 3261) as far as a call of ours needs them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from adapter.errors import CodecError

VERSION: Final = "SIP/2.0"
COMPACT: Final = {
    "v": "via",
    "f": "from",
    "t": "to",
    "i": "call-id",
    "m": "contact",
    "l": "content-length",
    "c": "content-type",
    "k": "supported",
    "s": "subject",
}
"""Short names of headers (RFC 3261, 7.3.3)."""
_STATUS: Final = re.compile(rf"{re.escape(VERSION)} ([1-6]\d\d) ?(.*)")
_REQUEST: Final = re.compile(rf"([A-Z]+) (\S+) {re.escape(VERSION)}")
_CSEQ: Final = re.compile(r"\d+\s+([A-Z]+)")
_URI: Final = re.compile(r"<([^>]*)>")


@dataclass(frozen=True, slots=True)
class Message:
    """One SIP message: its first line, its headers in order with names in small letters, its body."""

    first: str
    headers: tuple[tuple[str, str], ...]
    body: str = ""

    @classmethod
    def parse(cls, data: bytes) -> Message:
        """Read a datagram.

        Raises:
            CodecError: It is no SIP message: keep-alives of phones are none, for example.
        """
        head, _, body = data.decode("utf-8", "surrogateescape").partition("\r\n\r\n")
        first, *lines = re.sub(r"\r\n[ \t]+", " ", head).split("\r\n")
        pairs = (line.partition(":") for line in lines)
        named = ((name.strip().lower(), value.strip()) for name, _, value in pairs)
        found = cls(first, tuple((COMPACT.get(name, name), value) for name, value in named), body)
        if not (_STATUS.fullmatch(first) or _REQUEST.fullmatch(first)) or not _CSEQ.fullmatch(
            found.get("cseq")
        ):
            raise CodecError(f"no SIP message: {first[:80]!r}")
        return found

    def encode(self) -> bytes:
        """Write it as a datagram, with the length of its body."""
        body = self.body.encode("utf-8", "surrogateescape")
        kept = (pair for pair in self.headers if pair[0] != "content-length")
        lines = [self.first, *(f"{_written(name)}: {value}" for name, value in kept)]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        return head.encode("utf-8", "surrogateescape") + body

    def all(self, name: str) -> list[str]:
        """Return the values of a header, in order."""
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str:
        """Return the first value of a header, empty if there is none."""
        return next(iter(self.all(name)), "")

    @property
    def code(self) -> int:
        """The status code of a response, 0 of a request."""
        found = _STATUS.fullmatch(self.first)
        return int(found[1]) if found else 0

    @property
    def reason(self) -> str:
        """The reason phrase of a response, empty of a request."""
        found = _STATUS.fullmatch(self.first)
        return found[2] if found else ""

    @property
    def method(self) -> str:
        """The method of a request or, of a response, of the request that it answers."""
        return self.get("cseq").split()[-1]

    @property
    def uri(self) -> str:
        """The request URI; of a response an empty text."""
        return "" if self.code else self.first.split()[1]

    @property
    def branch(self) -> str:
        """What names its transaction: the branch of the topmost Via."""
        found = re.search(r";\s*branch\s*=\s*([^;,\s]+)", self.get("via"))
        return found[1] if found else ""

    @property
    def contact(self) -> str:
        """The URI of its first Contact, where requests in the dialog go; empty if there is none."""
        return uri_of(self.get("contact"))


def uri_of(header: str) -> str:
    """Return the URI of a header such as From or Route: what stands in <>, or all before the first ``;``."""
    found = _URI.search(header)
    return found[1] if found else header.partition(";")[0].strip()


def values(headers: list[str]) -> list[str]:
    """Return each value of a header that may hold several, separated by commas, such as Record-Route."""
    return [each.strip() for header in headers for each in re.split(r",(?![^<]*>)", header) if each.strip()]


def _written(name: str) -> str:
    return {"cseq": "CSeq", "call-id": "Call-ID"}.get(name, name.title())


def response(
    request: Message, code: int, reason: str, tag: str, *extra: tuple[str, str], body: str = ""
) -> Message:
    """Make the response to a request.

    Args:
        request: what is answered.
        code: the status code.
        reason: the reason phrase.
        tag: of the To header, if the request has none there.
        extra: more headers, as name and value.
        body: its body.
    """
    copied = tuple(
        pair for pair in request.headers if pair[0] in ("via", "record-route", "from", "call-id", "cseq")
    )
    to = request.get("to")
    tagged = to if ";tag=" in to or code == 100 else f"{to};tag={tag}"
    return Message(f"{VERSION} {code} {reason}", (*copied, ("to", tagged), *extra), body)

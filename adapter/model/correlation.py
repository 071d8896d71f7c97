"""Correlation ids as they stand on the bus: an identity, and a tag that nobody else can make. Pure.

    <node>:<index>:<label>:<seq>:<tag>

Identities can be guessed: index, label and seq are small numbers, and whoever may reply may write to the
queue of every node's replies. The tag is keyed BLAKE2b over the identity, so a reply shows that its sender
was given the request. If several services are asked about one call the tag is over the service's name, too,
so none can answer for another. All replicas have the same keys and compute the same id from the same frame;
nothing is stored, so ids hold while Redis is away. Consumers treat the id as opaque.
"""

from __future__ import annotations

import hashlib
import re
from binascii import b2a_base64
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from adapter.model.transaction import TransactionId

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

_TAG_BYTES: Final = 9  # 72 bits, to be guessed within one deadline; 12 characters of base64 without padding
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_TAG: Final = re.compile(r"[A-Za-z0-9_-]{12}")
_PERSON: Final = b"evapi id tag"
REMEMBERED: Final = 8192
"""Ids of one generation, of which two are remembered: some seconds of 2,000 calls/s, about 5 MB."""

SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 14, 8, 1
"""16 MB and 50 ms: what each guess at a password costs a service that was sent a request."""
_SEVERAL: Final = re.compile(r",\s*(?=[a-z+]+://)")  # a password may hold a comma
_SALT: Final = b"evapi-adapter correlation ids\0"


class WrongTag(ValueError):
    """The id is one, but its tag is missing or was not made with a key of ours."""


class Ask(NamedTuple):
    """What one of several services is asked about one suspension."""

    id: TransactionId
    service: str


class Ids:
    """Writes and reads correlation ids.

    An id is computed and read once for each call, then remembered: a digest costs 1.5 us, a lookup 0.1 us.

    Args:
        keys: of 1 to 64 bytes each; the first one signs, a tag by any of them is good. Without keys ids
            have no tag, and none is asked for: where consumers run in this process.
        services: gives the names of those that may be asked beside others.
    """

    def __init__(
        self,
        keys: Sequence[bytes] = (),
        remembered: int = REMEMBERED,
        services: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._services = services
        self._remembered = remembered
        self._hashes = [hashlib.blake2b(digest_size=_TAG_BYTES, key=key, person=_PERSON) for key in keys]
        self._texts: dict[TransactionId, str] = {}
        self._ids: dict[str, TransactionId] = {}
        self._older_texts: dict[TransactionId, str] = {}
        self._older_ids: dict[str, TransactionId] = {}
        self._asks: dict[str, Ask] = {}
        self._older_asks: dict[str, Ask] = {}

    def __repr__(self) -> str:
        return f"<Ids {len(self._hashes)} keys, {len(self._texts) + len(self._older_texts)} remembered>"

    @property
    def tagged(self) -> bool:
        """Whether ids have a tag."""
        return bool(self._hashes)

    def text(self, id_: TransactionId) -> str:
        """Return the correlation id."""
        if not self._hashes:
            return str(id_)
        found = self._texts.get(id_)
        if found is None:
            found = self._older_texts.get(id_)
            if found is None:
                plain = str(id_)
                found = f"{plain}:{self._tag(self._hashes[0], plain)}"
            self._remember(id_, found)
        return found

    def text_for(self, id_: TransactionId, service: str) -> str:
        """Return the correlation id of one request of those that a call needs. ``service``: who is asked; "":
        whoever is bound to the event."""
        if not self._hashes:
            return str(id_)
        plain = str(id_)
        found = f"{plain}:{self._tag(self._hashes[0], _signed(plain, service))}"
        if len(self._asks) >= self._remembered:
            self._older_asks, self._asks = self._asks, {}
        self._asks[found] = Ask(id_, service)  # the text is asked for once, and read at least once
        return found

    def suffix(self, id_: TransactionId) -> bytes:
        """Return what follows the identity in the correlation id: a colon and the tag, or nothing."""
        return self.text(id_)[-13:].encode() if self._hashes else b""

    def read(self, correlation_id: str, untagged: bool = False) -> TransactionId | Ask:
        """Return the identity in a correlation id that has a good tag, with the service if it is for one of
        several.

        Args:
            correlation_id: as it came with a reply.
            untagged: whether an id without a tag is good, too.

        Raises:
            WrongTag: the tag is missing or wrong.
            ValueError: it is no correlation id.
        """
        if not self._hashes:
            return self._read_plain(correlation_id)
        found = self._ids.get(correlation_id) or self._older_ids.get(correlation_id)
        if found is None:
            ask = self._asks.get(correlation_id) or self._older_asks.get(correlation_id)
            return self._read(correlation_id, untagged) if ask is None else ask
        return found

    @staticmethod
    def _read_plain(correlation_id: str) -> TransactionId:
        try:
            return TransactionId.parse(correlation_id)
        except ValueError:
            parts(correlation_id)  # says so where it is none
            raise WrongTag("a tag, where ids have none") from None

    def _read(self, correlation_id: str, untagged: bool) -> TransactionId | Ask:
        id_, tag = parts(correlation_id)
        if not tag:
            if untagged:
                return id_
            raise WrongTag("the correlation id has no tag: it is that of no request")
        plain = str(id_)
        # No comparison in constant time: a tag is good for one call alone, for as long as that waits.
        if any(self._tag(each, plain) == tag for each in self._hashes):
            return id_
        for service in ("", *self._services()):
            signed = _signed(plain, service)
            if any(self._tag(each, signed) == tag for each in self._hashes):
                return Ask(id_, service)
        raise WrongTag("the tag of the correlation id is wrong: it is that of no request")

    def _remember(self, id_: TransactionId, text: str) -> None:
        if len(self._texts) >= self._remembered:
            self._older_texts, self._texts = self._texts, {}
            self._older_ids, self._ids = self._ids, {}
        self._texts[id_] = text
        self._ids[text] = id_

    @staticmethod
    def _tag(keyed: hashlib.blake2b, plain: str) -> str:
        digest = keyed.copy()
        digest.update(plain.encode("utf-8", "replace"))
        return b2a_base64(digest.digest(), newline=False).translate(_URL_SAFE).decode()


def _signed(plain: str, service: str) -> str:
    return f"{plain}\0{service}"


def parts(correlation_id: str) -> tuple[TransactionId, str]:
    """Return the identity and the tag of a correlation id, the tag being empty where there is none.

    Nothing is said about whether the tag is good. Raises ValueError where it is no correlation id.
    """
    plain, _, tag = correlation_id.rpartition(":")
    if _TAG.fullmatch(tag):
        try:
            return TransactionId.parse(plain), tag
        except ValueError:
            pass  # then those 12 characters are the seq, if anything
    return TransactionId.parse(correlation_id), ""


def keys_of(secrets: Iterable[str]) -> list[bytes]:
    """Return a key for each secret, in their order."""
    return [hashlib.blake2b(each.encode(), digest_size=32, person=_PERSON).digest() for each in secrets]


def derived_keys(urls: str) -> list[bytes]:
    """Return keys made from the users and passwords of RabbitMQ's URLs, which all replicas are given.

    One for each user and password among them, in their order: replicas whose lists are the same, in
    whatever order, take each other's ids. To be called once: each takes 50 ms.
    """
    found: dict[tuple[str, str], None] = {}
    for url in _SEVERAL.split(urls):
        place = urlsplit(url.strip()).netloc.rpartition("@")[0]
        user, _, password = place.partition(":")
        found[unquote(user) or "guest", unquote(password) or "guest"] = None
    return [
        hashlib.scrypt(
            password.encode(), salt=_SALT + user.encode(), n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, dklen=32
        )
        for user, password in found
    ]

"""Where others reach this process: an address that it can tell them."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from adapter.address import Address

_ELSEWHERE: Final = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Addresses that are nobody's (RFC 5737, RFC 3849): the way there begins at the address that others know."""
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


def told(listens: Address) -> Address:
    """Return the address to tell others of one that is listened on.

    That is itself, unless it is unspecified (0.0.0.0, ::): then that of this machine, or pod, by which it
    sends to others. No packet is sent. One that has no way to others tells the unspecified address, which
    nobody asks from elsewhere.
    """
    try:
        given = ipaddress.ip_address(listens.host)
    except ValueError:
        return listens
    if not given.is_unspecified:
        return listens
    for version in (6, 4) if given.version == 6 else (4,):
        with socket.socket(_FAMILIES[version], socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((_ELSEWHERE[version], 9))
            except OSError:
                continue
            return Address(str(probe.getsockname()[0]), listens.port)
    return listens

"""Which addresses a webhook may connect to. Pure.

A URL's host is a name that its owner may point anywhere, also at this machine, its network or the metadata
service of a cloud (169.254.169.254). So an address that is not of the internet is refused unless the settings
name its network.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address that a gateway connects to."""


def why_refused(address: str, allowed: Iterable[Network], *, encrypted: bool) -> str:
    """Return why a connection to an address is refused, with the remedy; empty if it may be made.

    Args:
        address: An IPv4 or IPv6 address, as the socket is about to be connected to it.
        allowed: The networks that the settings name.
        encrypted: Whether the connection has TLS. One without may go to allowed networks alone.
    """
    found = ipaddress.ip_address(address)
    meant = _meant(found)
    if any(each.version == network.version and each in network for each in meant for network in allowed):
        return ""
    if not encrypted:
        return (
            f"{found} is not in allow_networks, and http:// is unencrypted: use https://, or add its network"
        )
    if all(each.is_global and not each.is_multicast for each in meant):
        return ""
    return f"{found} is no address of the internet: if it is meant, add its network to allow_networks"


def _meant(found: Address) -> tuple[Address, ...]:
    """The address that is really reached; with IPv6 also a tunnel's end, so that neither hides the other."""
    if not isinstance(found, ipaddress.IPv6Address):
        return (found,)
    if found.ipv4_mapped is not None:
        return (found.ipv4_mapped,)
    if found in _NAT64:
        return (found, ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF))
    if found.sixtofour is not None:
        return (found, found.sixtofour)
    if found.teredo is not None:
        return (found, *found.teredo)
    return (found,)

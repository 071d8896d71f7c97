"""A DNS server on loopback whose answers a test can change."""

from __future__ import annotations

import asyncio
from collections import Counter

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset


class DnsServer(asyncio.DatagramProtocol):
    """``records``: texts as in a zone file, by name and type; a name without any does not exist."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.rcode = dns.rcode.NOERROR
        self.silent = False
        self.asked: Counter[str] = Counter()
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> DnsServer:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        self._transport.close()

    @property
    def resolver(self) -> dns.asyncresolver.Resolver:
        """One that asks this server alone."""
        assert self._transport is not None
        found = dns.asyncresolver.Resolver(configure=False)
        found.nameservers = ["127.0.0.1"]
        found.port = self._transport.get_extra_info("sockname")[1]
        return found

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked[f"{name} {kind}"] += 1
        if self.silent:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        answer.set_rcode(self.rcode)
        if self.rcode == dns.rcode.NOERROR:
            texts = self.records.get((name, kind), [])
            if texts:
                answer.answer.append(dns.rrset.from_text_list(question.name, 1, "IN", kind, texts))
            elif name not in {known for known, _ in self.records}:
                answer.set_rcode(dns.rcode.NXDOMAIN)
        assert self._transport is not None
        self._transport.sendto(answer.to_wire(), addr)

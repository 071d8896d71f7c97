"""What a replica tells others of where it listens."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from adapter.address import Address
from adapter.runtime import own_address


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.5", "::1", "adapter.example.net"])
def test_an_address_that_says_where_is_told_as_it_is(host: str) -> None:
    assert own_address.told(Address(host, 9464)) == Address(host, 9464)


def test_one_that_does_not_becomes_this_machines() -> None:
    for wild in ("0.0.0.0", "::"):
        host, port = own_address.told(Address(wild, 9464))
        assert port == 9464
        assert not ipaddress.ip_address(host).is_unspecified
        with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass  # it is this machine's: anybody else's cannot be listened on


def test_without_a_way_to_others_nobody_is_told_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_address, "_ELSEWHERE", {4: "256.0.0.1", 6: "x"})
    assert own_address.told(Address("0.0.0.0", 9464)) == Address("0.0.0.0", 9464)

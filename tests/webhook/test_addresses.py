from __future__ import annotations

import ipaddress

import pytest

from consumers.webhook.addresses import why_refused

NETWORKS = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_the_internet_is_reached(address: str) -> None:
    assert why_refused(address, [], encrypted=True) == ""


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.0.0.5",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.1.1",
        "::1",
        "::",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "ff0e::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "2002:a9fe:a9fe::1",  # 6to4 of 169.254.169.254
        "2001:0:a9fe:a9fe:0:0:80ff:fffe",  # Teredo
    ],
)
def test_what_is_not_of_the_internet_is_refused(address: str) -> None:
    assert "add its network to allow_networks" in why_refused(address, [], encrypted=True)


@pytest.mark.parametrize("address", ["10.0.0.5", "fd12::1", "::ffff:10.0.0.5"])
def test_a_network_that_is_named_is_reached(address: str) -> None:
    assert why_refused(address, NETWORKS, encrypted=True) == ""
    assert why_refused(address, NETWORKS, encrypted=False) == ""


def test_another_private_one_is_not() -> None:
    assert why_refused("192.168.1.1", NETWORKS, encrypted=True)


def test_without_tls_only_what_is_named_is_reached() -> None:
    assert "http:// is unencrypted" in why_refused("93.184.216.34", NETWORKS, encrypted=False)

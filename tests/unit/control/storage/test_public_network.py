"""Addresses that URLs of users may lead to."""

import socket
from types import SimpleNamespace

import psutil
import pytest

from koco.control.storage.public_network import is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::7f00:1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2002:7f00:1::",
        "2001:0:1::1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "2001:db8::1",
        "fec0::1",
        "3fff::1",
        "5f00::1",
        "192.88.99.1",
        "2001:470::5efe:7f00:1",
        "2001:470::200:5efe:a00:1",
        "not an address",
        "",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    """Loopback, private, link-local, clouds' metadata, multicast, and forms that embed one."""
    assert not is_public(address, 443)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111"])
def test_public_addresses_are_accepted_at_the_ports_of_the_web(address: str) -> None:
    assert is_public(address, 80) and is_public(address, 443)
    for port in (22, 6379, 8265, 8000):
        assert not is_public(address, port)


def test_addresses_of_this_machine_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even public ones: only a firewall may separate its services from the internet."""
    own = SimpleNamespace(family=socket.AF_INET, address="93.184.215.14")
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": [own]})
    assert not is_public("93.184.215.14", 443)
    assert not is_public("::ffff:93.184.215.14", 443)

"""Which addresses may be fetched from."""

from __future__ import annotations

import pytest

from knowledge.web.addresses import Allowed

REFUSED = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::10.0.0.1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:53aa:64c:0:0:f5ff:fffe",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]
FREE = [
    "8.8.8.8",
    "93.184.216.34",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert Allowed.of([]).refusal("a.example", address)


@pytest.mark.parametrize("address", FREE)
def test_public_ones_are_not(address: str) -> None:
    assert Allowed.of([]).refusal("a.example", address) == ""


def test_what_is_allowed_by_name_address_or_network() -> None:
    allowed = Allowed.of(["Wiki.intern.", "10.1.0.0/16", "192.168.1.7", "fd00::/8", "[::1]"])
    assert allowed.refusal("wiki.INTERN", "10.9.9.9") == ""
    assert allowed.refusal("other.intern", "10.1.2.3") == ""
    assert allowed.refusal("other.intern", "192.168.1.7") == ""
    assert allowed.refusal("other.intern", "fd12::1") == ""
    assert allowed.refusal("other.intern", "::1") == ""
    assert allowed.refusal("other.intern", "10.2.0.1")
    assert allowed.refusal("evil-wiki.intern", "10.9.9.9")

"""Which addresses of the network may be fetched from: public ones, and those that are allowed by name.

A page that staff name, or that a page leads to, must not make this process talk to the machine it runs on, to its neighbours,
or to a cloud's metadata service. Names are looked up here, every address of a name is checked, and the connection goes to
exactly the addresses that were checked: a name that answers differently the next time gains nothing by it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from knowledge.errors import PageError

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

HOW_TO_ALLOW = "To allow a host of your own, name it in `pages_allow` (FRONTDESK_PAGES_ALLOW)."

_SEVERAL = {
    "0.0.0.0/8": "an address of this machine",
    "10.0.0.0/8": "a private address",
    "100.64.0.0/10": "a provider's internal address",
    "127.0.0.0/8": "an address of this machine",
    "169.254.0.0/16": "a link-local address, where clouds keep their metadata",
    "172.16.0.0/12": "a private address",
    "192.0.0.0/24": "a reserved address",
    "192.0.2.0/24": "a reserved address",
    "192.88.99.0/24": "a reserved address",
    "192.168.0.0/16": "a private address",
    "198.18.0.0/15": "a reserved address",
    "198.51.100.0/24": "a reserved address",
    "203.0.113.0/24": "a reserved address",
    "224.0.0.0/4": "a multicast address",
    "240.0.0.0/4": "a reserved address",
    "168.63.129.16/32": "a cloud's internal address",
    "::/128": "an address of this machine",
    "::1/128": "an address of this machine",
    "100::/64": "a reserved address",
    "2001:db8::/32": "a reserved address",
    "2001::/23": "a reserved address",
    "3fff::/20": "a reserved address",
    "5f00::/16": "a reserved address",
    "fc00::/7": "a private address",
    "fe80::/10": "a link-local address",
    "fec0::/10": "a private address",
    "ff00::/8": "a multicast address",
}
_REFUSED: tuple[tuple[Network, str], ...] = tuple((ip_network(network), kind) for network, kind in _SEVERAL.items())

# Where an IPv6 address holds an IPv4 one that the packet ends up at: the network, and how many bits follow it.
_WRAPPED: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("::/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("64:ff9b:1::/48"), 0),
    (IPv6Network("2002::/16"), 80),
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be fetched from although it is not public: host names, addresses and networks."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Allowed:
        """From `wiki.intern`, `10.1.2.3` and `10.0.0.0/8` alike."""
        hosts, networks = set(), []
        for entry in entries:
            name = entry.strip().lower().rstrip(".").strip("[]")
            try:
                networks.append(ip_network(name, strict=False))
            except ValueError:
                hosts.add(name)
        return cls(frozenset(hosts), tuple(networks))

    def refusal(self, host: str, address: str) -> str:
        """Why `address`, which `host` stands for, may not be connected to; empty when it may."""
        found = ip_address(address.partition("%")[0])
        if host.lower().rstrip(".") in self.hosts or any(found in network for network in self.networks):
            return ""
        return _why_not(found)


def _why_not(address: Address) -> str:
    if isinstance(address, IPv6Address):
        for wrapping, below in _WRAPPED:
            if address in wrapping and int(address) > 1:
                return _why_not(IPv4Address((int(address) >> below) & 0xFFFFFFFF))
        if address.teredo is not None:
            return "an address inside a tunnel"
    for network, kind in _REFUSED:
        if address in network:
            return kind
    return "" if address.is_global else "a reserved address"


def resolver(allowed: Allowed) -> AbstractResolver:
    """A resolver for aiohttp's connector that gives out checked addresses only.

    Its `resolve` raises `PageError` when one of a host's addresses may not be connected to: a name that stands for a public
    and a private address at once is up to something.
    """
    from aiohttp.abc import AbstractResolver, ResolveResult

    class _Resolver(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            results: list[ResolveResult] = []
            for kind, _, protocol, _, place in found:
                address = str(place[0])
                if refusal := allowed.refusal(host, address):
                    raise PageError(
                        f"The host {host} stands for {address}, {refusal}: it is not fetched from.", HOW_TO_ALLOW
                    )
                results.append(
                    ResolveResult(
                        hostname=host,
                        host=address,
                        port=port,
                        family=kind,
                        proto=protocol,
                        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                    )
                )
            return results

        async def close(self) -> None:
            """There is nothing to let go of."""

    return _Resolver()

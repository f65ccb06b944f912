"""Which addresses an upstream must not have when whoever named it is not trusted.

The rule is applied where a connection is made, to the very address it is made to: whatever two
parsers make of a URL, and whatever a name server says the second time, nothing else is reached.

Source: CVE-2026-24779 (vLLM), where the URL was checked by one parser and fetched by another, and
they disagreed about a backslash.
"""

import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

__all__ = [
    "AddressDeniedError",
    "checked_resolver",
    "checked_socket",
    "denial",
    "denial_of_host",
    "is_odd_number",
]

# Family, kind, protocol, canonical name and address, as `getaddrinfo` gives them.
_AddressInfo = tuple[int, int, int, str, tuple[object, ...]]
# Serves machines on Azure what 169.254.169.254 serves elsewhere, but is a public address.
_METADATA = frozenset({IPv4Address("168.63.129.16")})
# What older versions of `ipaddress` take for public: addresses of protocols (Oracle's metadata
# among them) and of tunnels.
_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv6Network("2001::/23"))
# All of IPv6 that is handed out on the internet.
_IPV6_PUBLIC = IPv6Network("2000::/3")
# Translated to the IPv4 address in the last 32 bits (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


class AddressDeniedError(OSError):
    """A connection would have gone to an address that is not of the public internet."""


def denial(address: str) -> str:
    """Return what an IP address is that makes it refused; empty for one that is allowed.

    Args:
        address: IPv4 or IPv6, as sockets write it; a scope such as `%eth0` may follow. What is no
            address is refused.
    """
    try:
        parsed = _unwrapped(ip_address(address))
    except ValueError:
        return "something that is no IP address"
    if parsed in _METADATA:
        return "an address of a metadata service"
    for what, holds in (
        ("a loopback address", parsed.is_loopback),
        ("a link-local address", parsed.is_link_local),
        ("a multicast address", parsed.is_multicast),
        ("a private or reserved address", not _is_public(parsed)),
    ):
        if holds:
            return what
    return ""


def denial_of_host(url: str) -> str:
    """Return why the host of a URL is refused where it is a literal address; else nothing."""
    host = urlsplit(url).hostname or ""
    return denial(host) if _is_address(host) else ""


def is_odd_number(url: str) -> bool:
    """Tell whether the host of a URL is a number that only some parsers take for an address.

    Such as 127.1, 2130706433 or 0x7f000001, which are all 127.0.0.1 to `getaddrinfo`.

    Source: the URL Standard of the WHATWG, "ends in a number checker".
    """
    host = urlsplit(url).hostname or ""
    last = host.rstrip(".").rpartition(".")[2]
    return bool(_NUMBER.fullmatch(last)) and not _is_address(host)


def checked_resolver(inner: "AbstractResolver") -> "AbstractResolver":
    """Return a resolver that refuses a name of which any address is refused.

    Args:
        inner: Asks the name servers.
    """
    from aiohttp.abc import AbstractResolver, ResolveResult

    class CheckedResolver(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            results = await inner.resolve(host, port, family)
            for result in results:
                _check(result["host"])
            return results

        async def close(self) -> None:
            await inner.close()

    return CheckedResolver()


def checked_socket() -> "Callable[[_AddressInfo], socket.socket]":
    """Return what makes the socket of a connection unless the address is refused.

    Literal addresses come by here, which are never looked up.
    """

    def new_socket(info: _AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        _check(str(address[0]))
        return socket.socket(family, kind, protocol)

    return new_socket


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _check(address: str) -> None:
    what = denial(address)
    if what:
        raise AddressDeniedError(f"it has {what}, which denies_private refuses")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if address.version == 6 and address not in _IPV6_PUBLIC:
        return False
    return address.is_global and not any(address in network for network in _SPECIAL)


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    # Deprecated, but a kernel may still take ::127.0.0.1 for what it looks like.
    if 1 < int(address) <= 0xFFFF_FFFF:
        return IPv4Address(int(address))
    return address

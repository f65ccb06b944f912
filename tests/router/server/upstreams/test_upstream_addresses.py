"""Addresses that are not of the public internet are refused where that is asked for."""

import ipaddress
import socket

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from policies import BackendConnectionError, InvalidInputError
from router.server.upstreams import (
    BreakerSettings,
    UpstreamPool,
    UpstreamSettings,
)
from router.server.upstreams._addresses import (
    AddressDeniedError,
    checked_resolver,
    checked_socket,
    denial,
)
from tests.servers.upstream import UpstreamServer

DENIED = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",  # shared by carriers; Alibaba's metadata is 100.100.100.200
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "64:ff9b::10.0.0.1",  # NAT64
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "localhost",
    "",
]
ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "172.32.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "2002:808:808::",
]


@pytest.mark.parametrize("address", DENIED)
def test_addresses_inside_are_refused(address: str) -> None:
    assert denial(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_addresses_of_the_internet_are_allowed(address: str) -> None:
    assert denial(address) == ""


@given(st.ip_addresses(v=4))
def test_no_spelling_in_ipv6_lets_an_ipv4_address_through(inner: ipaddress.IPv4Address) -> None:
    verdict = denial(str(inner))
    for spelling in (
        f"::ffff:{inner}",
        f"64:ff9b::{inner}",
        str(ipaddress.IPv6Address((0x2002 << 112) | (int(inner) << 80))),
    ):
        assert bool(denial(spelling)) == bool(verdict)


class Names(AbstractResolver):
    """Answers with the addresses it is given, and counts how often it is asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.n_asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.n_asked += 1
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in self.addresses
        ]

    async def close(self) -> None:
        pass


async def test_one_address_inside_is_enough_to_refuse_a_name() -> None:
    mixed = checked_resolver(Names("1.1.1.1", "10.0.0.1"))
    with pytest.raises(AddressDeniedError, match="private"):
        await mixed.resolve("example.invalid", 80)
    public = checked_resolver(Names("1.1.1.1"))
    assert [each["host"] for each in await public.resolve("example.invalid", 80)] == ["1.1.1.1"]


def test_a_socket_is_only_made_for_what_is_allowed() -> None:
    new_socket = checked_socket()
    kind, protocol = socket.SOCK_STREAM, socket.IPPROTO_TCP
    with pytest.raises(AddressDeniedError):
        new_socket((socket.AF_INET, kind, protocol, "", ("127.0.0.1", 80)))
    with pytest.raises(AddressDeniedError):
        new_socket((socket.AF_INET6, kind, protocol, "", ("::1", 80, 0, 0)))
    new_socket((socket.AF_INET, kind, protocol, "", ("1.1.1.1", 80))).close()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://169.254.169.254/v1",
        "http://[::1]:8000/v1",
        "http://[::ffff:10.0.0.1]/v1",
    ],
)
def test_a_literal_address_inside_is_refused_at_once(url: str) -> None:
    assert UpstreamSettings(url).base_url == url
    with pytest.raises(InvalidInputError, match="denies_private"):
        UpstreamSettings(url, denies_private=True)


async def test_a_name_of_this_machine_reaches_no_server() -> None:
    async with UpstreamServer() as server:
        settings = UpstreamSettings(f"http://localhost:{server.port}/v1", denies_private=True)
        pool = UpstreamPool([settings], breaker=BreakerSettings(check_every_s=0.0))
        await pool.start()
        with pytest.raises(BackendConnectionError, match="loopback") as caught:
            await pool.send("/chat/completions", b"{}")
        await pool.aclose()
        assert caught.value.code == "upstream-address-denied"
        assert server.seen == []


async def denied(url: str) -> BackendConnectionError:
    """Return the error of a pool whose one server has a URL, whatever its settings would say."""
    settings = UpstreamSettings("http://example.invalid/v1", denies_private=True)
    object.__setattr__(settings, "base_url", url)
    pool = UpstreamPool([settings], breaker=BreakerSettings(check_every_s=0.0))
    await pool.start()
    try:
        with pytest.raises(BackendConnectionError) as caught:
            await pool.send("/chat/completions", b"{}")
    finally:
        await pool.aclose()
    return caught.value


async def test_the_connection_checks_literal_addresses_again() -> None:
    async with UpstreamServer() as server:
        assert (await denied(server.url)).code == "upstream-address-denied"
        assert server.seen == []


async def test_a_name_that_is_only_partly_outside_is_connected_to_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names("127.0.0.1", "1.1.1.1")
    monkeypatch.setattr(aiohttp, "ThreadedResolver", lambda: names)
    assert (await denied("http://example.invalid/v1")).code == "upstream-address-denied"
    assert names.n_asked == 3  # Once per attempt: what was checked is not looked up again.


@pytest.mark.parametrize(
    "url",
    [
        "http://1.1.1.1\\@127.0.0.1/v1",
        "http://user:canary@example.invalid/v1",
        "http://example.invalid/v1?key=canary",
        "http://exämple.invalid/v1",
        "http://exam%70le.invalid/v1",
        "http://example.invalid/v1/../admin",
        "http://exa mple.invalid/v1",
        "http://[fe80::1%25eth0]/v1",
        "http://127.1/v1",
        "http://2130706433/v1",
        "http://0x7f000001/v1",
        "http://0177.0.0.1/v1",
        "http://1.2.3.0x4/v1",
        "http://example.invalid.1/v1",
        "file:///etc/passwd",
        "example.invalid",
    ],
)
def test_urls_that_parsers_may_read_differently_are_refused(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        UpstreamSettings(url)
    assert "canary" not in str(caught.value)

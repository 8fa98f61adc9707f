"""Where a URL really leads: resolve it once, refuse what is not the public internet, connect to what was checked.

The name is resolved here and every address must be global; the caller connects to :attr:`Pinned.address`, never to the
name again, so an answer that changes between check and connection changes nothing. Each redirect is checked anew.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, urljoin, urlsplit

from retainer.core.errors import RefusedError

PORTS: dict[str, int] = {"http": 80, "https": 443}
MAX_URL = 2048
MAX_REDIRECTS = 5
Resolve: TypeAlias = Callable[[str, int], Iterable[str]]
"""Host and port to textual addresses."""

_LOCAL = re.compile(r"(^|\.)(localhost|local|internal|intranet|lan|home\.arpa|localdomain)$")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_EMBEDS = (_NAT64, ipaddress.ip_network("64:ff9b:1::/48"), ipaddress.ip_network("::/96"))
"""Prefixes whose last 32 bits are an IPv4 address."""
_CLOSED = (ipaddress.ip_network("fec0::/10"), ipaddress.ip_network("3fff::/20"))
"""Site-local and documentation: no public addresses, though not every Python says so."""
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""The third quarter of an address that tunnels to the IPv4 address in its last one."""
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Pinned:
    """A checked URL with the address to connect to; ``host`` goes into the Host header and the TLS name."""

    url: str
    host: str
    port: int
    address: str


def check_url(url: str, *, resolve: Resolve | None = None, any_port: bool = False) -> Pinned:
    """Resolve ``url`` once and pin it. Raises :class:`RefusedError` saying what is wrong with it.

    Only http and https on their own ports (``any_port`` lifts that), no user name, no local names, and only if *every*
    address the name has is a global one: not private, loopback, link-local (cloud metadata), shared, reserved or
    multicast, and neither is an IPv4 address inside an IPv6 one. Resolving uses this machine's resolver unless
    ``resolve`` is given.
    """
    parts = _split(url)
    host, port = _host(parts), _port(parts, any_port=any_port)
    if _LOCAL.search(host):
        raise RefusedError(f"{host} is a name of this machine or its network.")
    try:
        found = [host] if _literal(host) else list((resolve or _system)(host, port))
    except (OSError, UnicodeError) as error:
        raise RefusedError(f"{host} cannot be resolved.", hint="Check the address.") from error
    if not found:
        raise RefusedError(f"{host} has no address.", hint="Check the address.")
    for address in found:
        reason = address_reason(address)
        if reason:
            raise RefusedError(f"{host} leads to {address}: {reason}.")
    return Pinned(parts.geturl(), host, port, found[0])


def check_redirect(
    before: Pinned, location: str, *, hops: int, resolve: Resolve | None = None, any_port: bool = False
) -> Pinned:
    """The same check for the ``hops``-th redirect of a request; a step down from https to http is refused."""
    if hops > MAX_REDIRECTS:
        raise RefusedError(f"More than {MAX_REDIRECTS} redirects.")
    if not isinstance(location, str):
        raise RefusedError("That is not a URL.")
    try:
        joined = urljoin(before.url, location)
    except ValueError as error:
        raise RefusedError("That is not a URL.") from error
    after = check_url(joined, resolve=resolve, any_port=any_port)
    if before.url.startswith("https:") and not after.url.startswith("https:"):
        raise RefusedError("A redirect leads from https to http.")
    return after


def address_reason(address: str) -> str:
    """Why a connection to ``address`` is refused; empty for an address of the public internet."""
    try:
        ip: _Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "not an address"
    for each in (ip, *_inside(ip)):
        if any(each in network for network in _CLOSED):
            return "not an address of the public internet"
        if not each.is_global or each.is_multicast or each.is_reserved or each.is_unspecified:
            return "not an address of the public internet"
    return ""


def _inside(ip: _Address) -> Iterable[_Address]:
    """IPv4 addresses that an IPv6 address stands for."""
    if isinstance(ip, ipaddress.IPv4Address):
        return
    for found in (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())):
        if found is not None:
            yield found
    if any(ip in network for network in _EMBEDS) or (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP:
        yield ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)


def _split(url: str) -> SplitResult:
    if not isinstance(url, str):
        raise RefusedError("That is not a URL.")
    if len(url) > MAX_URL:
        raise RefusedError(f"The URL is longer than {MAX_URL} characters.")
    if any(ord(ch) <= 32 or ord(ch) == 127 or ch == "\\" for ch in url):
        raise RefusedError("The URL holds spaces, control characters or backslashes.")
    try:
        parts = urlsplit(url)
        scheme_known = parts.scheme in PORTS
    except ValueError as error:
        raise RefusedError("That is not a URL.") from error
    if not scheme_known:
        raise RefusedError(f"{parts.scheme or 'That'} is not http or https.", hint="Use a web address.")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise RefusedError("The URL holds a user name.", hint="Leave out everything before @.")
    return parts


def _host(parts: SplitResult) -> str:
    try:
        host = (parts.hostname or "").rstrip(".").casefold()
        plain = host if host.isascii() else host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError) as error:
        raise RefusedError("The URL's host is not a name.") from error
    # "%" would be a scope or an escape: clients disagree on where "8.8.8.8%2e.example" leads.
    if not plain or "%" in plain or not (_literal(plain) or _HOST.fullmatch(plain)):
        raise RefusedError("The URL's host is not a name.")
    return plain


def _port(parts: SplitResult, *, any_port: bool) -> int:
    try:
        port = parts.port or PORTS[parts.scheme]
    except ValueError as error:
        raise RefusedError("The URL's port is not a number.") from error
    if port != PORTS[parts.scheme] and not any_port:
        raise RefusedError(f"Port {port} is not the one of {parts.scheme}.")
    return port


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _system(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))

"""Whose address a request has, and what counts as one address when people are counted. Pure."""

import ipaddress

from aiohttp import web


def remote_address(request: web.Request, trusted_proxies: int) -> str:
    """`client_address` of a request."""
    return client_address(
        request.remote or "", ",".join(request.headers.getall("X-Forwarded-For", [])), trusted_proxies
    )


def client_address(peer: str, forwarded_for: str, trusted_proxies: int) -> str:
    """The client's address: the connection's peer, or what the outermost proxy of one's own saw."""
    if trusted_proxies > 0:
        forwarded = [part.strip() for part in forwarded_for.split(",")]
        if len(forwarded) >= trusted_proxies and forwarded[-trusted_proxies]:
            return forwarded[-trusted_proxies]
    return peer


def address_block(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 customer holds."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    assert isinstance(parsed, ipaddress.IPv6Address), "an IPv4 address has no colon"
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))

"""Whose address a request has, and what counts as one address when people are counted. Pure."""

import ipaddress

from aiohttp import web


def remote_address(request: web.Request, trusted_proxies: int) -> str:
    """The client's address: the socket's peer, or what the outermost proxy of one's own saw."""
    if trusted_proxies > 0:
        forwarded = [part.strip() for part in ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")]
        if len(forwarded) >= trusted_proxies and forwarded[-trusted_proxies]:
            return forwarded[-trusted_proxies]
    return request.remote or ""


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

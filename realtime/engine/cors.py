"""Which pages may connect: the cross-origin rules of an endpoint, for polling and websockets alike.

A browser lets any page open a websocket, so the server itself must look at Origin. Other clients mostly send none.
"""

from urllib.parse import urlsplit

from aiohttp import web

_PREFLIGHT = {"Access-Control-Allow-Methods": "GET, POST", "Access-Control-Max-Age": "600"}


def cors_headers(request: web.Request, allowed: frozenset[str]) -> dict[str, str] | None:
    """The headers that the answer needs; None when the page may not connect."""
    origin = request.headers.get("Origin")
    if origin is None or is_own(origin, request.host):
        return {}
    if "*" in allowed:
        headers = {"Access-Control-Allow-Origin": "*"}
    elif origin in allowed:
        headers = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
        }
    else:
        return None
    if request.method == "OPTIONS":
        headers |= _PREFLIGHT
        headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "Content-Type")
    return headers


def may_connect(origin: str | None, host: str, allowed: frozenset[str]) -> bool:
    """Whether a websocket may be opened by a page of `origin`, None for whoever is no page."""
    return origin is None or is_own(origin, host) or "*" in allowed or origin in allowed


def is_own(origin: str, host: str) -> bool:
    """Whether the page came from this host. The scheme is left out: a proxy may have ended TLS."""
    try:
        parts = urlsplit(origin)
        default = ":443" if parts.scheme in ("https", "wss") else ":80"
        return bool(parts.netloc) and parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)
    except ValueError:
        return False

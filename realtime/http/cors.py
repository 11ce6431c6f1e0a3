"""Cross-origin requests: an explicit list of origins, and nothing for anybody else.

Called by the outermost middleware. The API takes its token in a header and sets no cookie, so no answer ever allows
credentials. Without a list there are no CORS headers at all, and browsers keep other sites out.
"""

from collections.abc import Mapping
from typing import Final

from cluster.kernel.errors import SETTINGS_INVALID, FlowError

_METHODS: Final = "GET, HEAD, POST, PATCH, DELETE"
_REQUEST_HEADERS: Final = "Authorization, Content-Type, X-Request-Id"
_EXPOSED: Final = "Location, Retry-After, X-Request-Id"
_MAX_AGE_S: Final = 600


class CrossOrigin:
    """The allow-list. An origin is compared whole: scheme, host and port."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        """Raises FlowError SETTINGS_INVALID for `*`, or for what no browser would ever send."""
        for origin in origins:
            if "://" not in origin or origin.endswith("/") or "*" in origin:
                raise FlowError(
                    SETTINGS_INVALID,
                    f"{origin!r} is not an origin. Write scheme://host[:port] without a path; wildcards are not taken.",
                )
        self._origins = frozenset(origins)

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """The headers for an answer to a request from `origin`."""
        if not self._origins:
            return {}
        if origin is None or origin not in self._origins:
            return {"Vary": "Origin"}
        return {"Vary": "Origin", "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}

    def preflight(self, origin: str | None) -> Mapping[str, str]:
        """The further headers for a preflight; empty for an origin that is not on the list."""
        if origin is None or origin not in self._origins:
            return {}
        return {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _REQUEST_HEADERS,
            "Access-Control-Max-Age": str(_MAX_AGE_S),
        }

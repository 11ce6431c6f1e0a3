"""Reads the head of an HTTP request that may open a websocket, and nothing that is out of the ordinary. Pure.

`front` asks it. It takes the plain form of RFC 9112 that clients and proxies write and refuses everything else, which
is then HTTP's to understand or to answer: what it takes, an HTTP server would have read in the same way.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

MAX_HEAD_BYTES: Final = 16_384

_END: Final = b"\r\n\r\n"
_PLAIN: Final = re.compile(
    r"GET (/[!-\"$->@-~]*)\?([!-\"$-~]*) HTTP/1\.1"
    r"((?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[ -~]*+)++)\r\n\r\n",
)
"""Path, query, and fields that each begin with a line's end. It gives nothing back (`++`, `*+`), so it takes no longer
for a head that is wrong."""

_WITH_BODY: Final = frozenset({"content-length", "transfer-encoding", "expect"})


_KNOWN_QUERIES: Final = 256
_LONGEST_KNOWN: Final = 256


class RequestHead(NamedTuple):
    """A GET without a body. `headers` are by lower-case name, none of which came twice."""

    path: str
    query_string: str
    headers: Mapping[str, str]


def end_of_head(data: bytes, searched: int) -> int:
    """Where the body begins, -1 while it is not there; the first `searched` bytes have been looked through before."""
    at = data.find(_END, max(0, searched - len(_END) + 1))
    return -1 if at < 0 else at + len(_END)


def read_head(data: bytes) -> RequestHead | None:
    """`data` ends where the head does. None: not of the plain form."""
    try:
        match = _PLAIN.fullmatch(data.decode("ascii"))
    except UnicodeDecodeError:
        return None
    if match is None:
        return None
    path, query_string, lines = match.groups()
    _, *fields = lines.split("\r\n")
    headers: dict[str, str] = {}
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip(" ")
    if len(headers) != len(fields) or not _WITH_BODY.isdisjoint(headers):
        return None
    return RequestHead(path, query_string, headers)


def plain_query(query_string: str) -> Mapping[str, str] | None:
    """The parameters by name when each is there once and has no escape in its name; None otherwise. Values are as they
    came. Not to be changed: those who open websockets ask in a handful of ways, and each is taken apart once."""
    return _known_query(query_string) if len(query_string) <= _LONGEST_KNOWN else _taken_apart(query_string)


@lru_cache(maxsize=_KNOWN_QUERIES)
def _known_query(query_string: str) -> Mapping[str, str] | None:
    return _taken_apart(query_string)


def _taken_apart(query_string: str) -> Mapping[str, str] | None:
    parts = query_string.split("&")
    query = {name: value for name, _, value in (part.partition("=") for part in parts)}
    if len(query) != len(parts) or any("%" in name or "+" in name for name in query):
        return None
    return query

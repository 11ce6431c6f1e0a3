"""What the front takes for a plain request, an HTTP server reads in the same way; and it is found however it comes."""

import asyncio
from unittest.mock import Mock

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from realtime.engine.request_head import end_of_head, plain_query, read_head

_PLAIN = ["Upgrade: websocket", "Connection:Upgrade", "X-a_b!: 1 ", "Cookie: a=b; c=d"]
_CHARACTERS = st.characters(min_codepoint=0, max_codepoint=0xFF)
_NAMES = st.sampled_from(["X", "Content-Length", "Expect", "b d", "", "x,y", "host", "Upgrade "]) | st.text(
    _CHARACTERS, max_size=3
)
_FIELDS = st.builds("{}{}{}".format, _NAMES, st.sampled_from([":", ": ", ""]), st.text(_CHARACTERS, max_size=3))
_LINES = st.just("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1") | st.builds(
    "{} {} {}".format,
    st.sampled_from(["GET", "get", "POST"]),
    st.sampled_from(["/s?a=%20b", "/s", "/a?b#c", "//x?y", "http://h/p?q", "*"])
    | st.text(_CHARACTERS, max_size=3).map("/s?".__add__),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0"]),
)


def _as_http(data: bytes) -> tuple[str, str, dict[str, str]] | None:
    """Path, query and headers as aiohttp has them; None when it refuses."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(Mock(), loop, 2**16, max_line_size=8190, max_field_size=8190)
        messages, _, _ = parser.feed_data(data)
    except HttpProcessingError:
        return None
    finally:
        loop.close()
    [(message, _)] = messages
    path, _, query = message.path.partition("?")
    return path, query, {name.lower(): value for name, value in message.headers.items()}


@given(_LINES, st.none() | _FIELDS)
@example("GET /s?x HTTP/1.1", "X: a\x00b")
@example("GET /s?x HTTP/1.1", "b d: x")
@example("GET /s?x HTTP/1.1", "no colon")
@example("GET /s?x HTTP/1.1", " folded")
def test_what_is_taken_is_read_as_an_http_server_reads_it(line: str, odd: str | None) -> None:
    lines = [line, "Host: flow.example", *_PLAIN, *([] if odd is None else [odd])]
    data = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    head = read_head(data)
    if head is not None:
        assert _as_http(data) == (head.path, head.query_string, dict(head.headers))
    assert head is not None or odd is not None or line != "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1"


@given(st.text(st.sampled_from("ab%+=&"), max_size=16))
def test_a_plain_query_means_what_it_says(query_string: str) -> None:
    query = plain_query(query_string)
    if query is not None and "" not in query:
        parsed = URL("/?" + query_string, encoded=True).query
        assert set(parsed) == set(query)


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 24))
def test_the_end_is_found_in_whatever_pieces_it_comes(before: bytes, after: bytes, cut: int) -> None:
    whole = before + b"\r\n\r\n" + after
    first = end_of_head(whole[:cut], 0)
    assert (first if first >= 0 else end_of_head(whole, len(whole[:cut]))) == whole.index(b"\r\n\r\n") + 4

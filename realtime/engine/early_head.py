"""The head of a poll's answer, sent before there is a body.

A client's HTTP library may repeat a GET unasked when its connection breaks, but not when the answer has begun. Where
polls carry no mark (`poll_mark`) the session's edge cannot tell such a repeat from the next poll, and would answer it
with the next messages. So the head goes ahead: when the connection breaks or an edge in between is killed with the body
in its hands, the client sees a broken answer, comes back and says what it has.
"""

from collections.abc import Mapping
from contextlib import suppress

from aiohttp import HttpVersion11, web

from realtime.engine.polling import poll_mark
from realtime.engine.wire import CLOSE_PACKET


class EarlyHead:
    """One request's. Once it is sent, what went wrong can only be said by the packet that closes a session."""

    def __init__(self, request: web.Request, headers: Mapping[str, str]) -> None:
        self._request = request
        self._headers = headers
        self._response: web.StreamResponse | None = None

    async def send_if_needed(self) -> None:
        """Not in HTTP/1.0, where a broken answer looks like a whole one. Raises ConnectionError when the client has
        gone.
        """
        request = self._request
        is_poll = request.method == "GET" and request.version >= HttpVersion11
        if self._response is None and is_poll and not poll_mark(request.query):
            self._response = web.StreamResponse(headers=self._headers)
            _ = await self._response.prepare(request)

    async def followed_by(self, answer: web.StreamResponse | None) -> web.StreamResponse | None:
        """The whole answer; `answer` itself when no head was sent."""
        if self._response is None:
            return answer
        body = CLOSE_PACKET.payload
        if isinstance(answer, web.Response) and answer.status == 200 and isinstance(answer.body, bytes):
            body = answer.body
        with suppress(ConnectionError):  # the client has gone
            await self._response.write(body)
            await self._response.write_eof()
        return self._response

"""A GET that HTTP repeats by itself: the client must be told what the answer it never saw said, and no less."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.engine.polling import PollingTransport, poll_mark
from tests.engine.harness import Poller, Served, eventually, serve
from tests.support.relay import Relay


@asynccontextmanager
async def relayed() -> AsyncIterator[tuple[Served, Relay, Poller, PollingTransport]]:
    """An echoing session whose client stands behind a relay."""
    async with serve() as served:
        relay = Relay(("127.0.0.1", served.port))
        host, port = await relay.start()
        poller = Poller(served.http, f"http://{host}:{port}/engine.io/")
        await poller.open()
        transport = served.engine.runtime.sessions[poller.sid].transport
        assert isinstance(transport, PollingTransport)
        yield served, relay, poller, transport
        await relay.stop()


def direct(served: Served, poller: Poller) -> Poller:
    """The same session's client, past the relay."""
    other = served.poller("/engine.io/")
    other.sid = poller.sid
    return other


async def test_an_answer_that_broke_on_its_way_is_given_to_the_get_that_the_library_repeats() -> None:
    async with relayed() as (served, relay, poller, transport):
        relay.stall(to_client=True)
        poll = asyncio.ensure_future(poller.get("a"))
        await eventually(lambda: transport.is_polled)
        assert await direct(served, poller).post("4first") == (200, "ok")
        await eventually(lambda: not transport.is_owed and not transport.is_polled)
        assert await direct(served, poller).post("4second") == (200, "ok")
        relay.cut()
        relay.resume()
        assert await poll == (200, "4first")
        assert await poller.get("b") == (200, "4second")
        assert served.engine.statistics()["polls_repeated"] == 1


async def test_a_get_that_is_repeated_while_the_first_waits_takes_its_place() -> None:
    async with relayed() as (served, relay, poller, transport):
        relay.stall(to_client=True)
        first = asyncio.ensure_future(poller.get("a"))
        await eventually(lambda: transport.is_polled)
        other = direct(served, poller)
        again = asyncio.ensure_future(other.get("a"))
        await eventually(lambda: bool(served.engine.statistics()["polls_repeated"]))
        assert await other.post("4x") == (200, "ok")
        assert await again == (200, "4x")
        relay.resume()
        assert (await first)[0] == 400
        assert await other.post("4y") == (200, "ok")
        assert await other.get("b") == (200, "4y")


async def test_an_answer_is_kept_until_the_next_get_and_no_longer() -> None:
    async with relayed() as (_, _, poller, transport):
        assert await poller.post("4x") == (200, "ok")
        assert await poller.get("a") == (200, "4x")
        assert transport.unsent_bytes() == len("4x")
        poll = asyncio.ensure_future(poller.get("b"))
        await eventually(lambda: transport.is_polled)
        assert transport.unsent_bytes() == 0
        assert await poller.post("4y") == (200, "ok")
        assert await poll == (200, "4y")


async def test_the_same_get_again_and_again_ends_the_session() -> None:
    async with relayed() as (served, _, poller, _):
        assert await poller.post("4x") == (200, "ok")
        answers = [await poller.get("a") for _ in range(10)]
        assert answers[:9] == [(200, "4x")] * 9
        assert answers[9][0] == 400
        assert (await poller.get("b"))[0] in (200, 400)  # what is left of it: the packet that says so
        await served.is_empty()


async def test_another_get_while_one_waits_ends_the_session_as_ever() -> None:
    async with relayed() as (served, _, poller, transport):
        first = asyncio.ensure_future(poller.get("a"))
        await eventually(lambda: transport.is_polled)
        assert (await poller.get("b"))[0] == 400
        assert await first == (200, "1")
        await served.is_empty()


async def test_what_a_client_says_in_its_opening_request_too_is_no_mark() -> None:
    async with serve() as served:
        poller = served.poller("/engine.io/")
        await poller.open("tenant")
        for said in ("4x", "4y"):
            assert await poller.post(said) == (200, "ok")
            assert await poller.get("tenant") == (200, said)


@pytest.mark.parametrize("mark", ["", "x" * 65])
async def test_requests_without_a_mark_are_never_taken_for_each_other(mark: str) -> None:
    async with relayed() as (_, _, poller, transport):
        for said in ("4x", "4y"):
            assert await poller.post(said) == (200, "ok")
            assert await poller.get(mark) == (200, said)
            assert transport.unsent_bytes() == 0


async def test_a_client_that_marks_nothing_sees_that_its_answer_broke() -> None:
    """Its HTTP library would repeat a request that was not answered at all, and hide it."""
    async with relayed() as (served, relay, poller, transport), served.http.get(poller.target) as answer:
        relay.stall(to_client=True)
        assert await direct(served, poller).post("4x") == (200, "ok")
        await eventually(lambda: not transport.is_owed and not transport.is_polled)
        relay.cut()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_http_1_0_has_its_answer_in_one_piece() -> None:
    async with relayed() as (served, _, poller, _):
        assert await poller.post("4x") == (200, "ok")
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"GET /engine.io/?EIO=4&transport=polling&sid={poller.sid} HTTP/1.0\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b"Content-Length: 2" in head
        assert body == b"4x"
        writer.close()


@given(st.dictionaries(st.sampled_from(["t", "sid", "EIO"]), st.text(max_size=80)))
def test_a_mark_is_what_the_client_said_or_nothing(query: dict[str, str]) -> None:
    assert poll_mark(query) == (query.get("t", "") if len(query.get("t", "")) <= 64 else "")

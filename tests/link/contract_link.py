"""What every `LinkClient` and the server side that drives a `LinkService` promise, whatever carries them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    NOT_A_MEMBER,
    OVERLOADED,
    TOO_LARGE,
    UNAVAILABLE,
    FlowError,
)
from cluster.kernel.wire import decode
from cluster.link.port import LinkClient, LinkLimits
from tests.link.doubles import LONG_S, RecordingListener, ScriptedService
from tests.support.journal import Journal


@dataclass
class Ends:
    """A connected link and what stands at its ends."""

    link: LinkClient
    service: ScriptedService
    listener: RecordingListener
    stop_reading: Callable[[], None]
    reconnect: Callable[[], Awaitable[None]]


OpenLink = Callable[..., Awaitable[Ends]]


async def ask(ends: Ends, method: str, body: Any, timeout_s: float = LONG_S) -> Any:
    return decode(await ends.link.call(method, body, timeout_s), Any)


class LinkContract:
    """A subclass provides the fixture `open_link`: `await open_link(limits=…, server_clock=…)`."""

    async def test_a_reply_holds_what_the_service_said(self, open_link: OpenLink) -> None:
        ends = await open_link()
        body = {"text": "grüß Gott", "n": [1, 2.5, None, b"\0\xff"]}
        assert await ask(ends, "echo", body) == body
        assert await ask(ends, "echo", msgspec.Raw(msgspec.msgpack.encode(body))) == body

    async def test_the_service_knows_who_asks(self, open_link: OpenLink) -> None:
        ends = await open_link()
        assert ends.service.journal.entries[0] == ("connected", "edge-0", "edge-0-a")

    async def test_requests_and_notes_arrive_in_the_order_they_were_sent(self, open_link: OpenLink) -> None:
        ends = await open_link()
        calls = []
        for number in range(200):
            calls.append(ends.link.call("echo", number, LONG_S))
            assert ends.link.note("n", number)
        await asyncio.gather(*calls)
        await ends.service.journal.has(("note", "n", 199))
        expected = [e for n in range(200) for e in (("request", "echo", n), ("note", "n", n))]
        assert ends.service.journal.entries[1:] == expected

    async def test_a_reply_after_pushes_is_seen_after_them(self, open_link: OpenLink) -> None:
        ends = await open_link()
        topics = [f"t{number}" for number in range(50)]
        assert await ask(ends, "push", topics) == 50
        assert ends.listener.journal.entries == ["connected", *((topic, topic) for topic in topics)]

    async def test_an_error_arrives_with_its_particulars(self, open_link: OpenLink) -> None:
        ends = await open_link()
        with pytest.raises(FlowError) as caught:
            await ask(ends, "refuse", "not_a_member")
        error = caught.value
        assert (error.kind, error.message, error.retry_after_ms, error.fields) == (
            NOT_A_MEMBER,
            "Refused.",
            7,
            ("a", "b"),
        )

    async def test_a_mistake_of_the_service_harms_only_its_request(self, open_link: OpenLink) -> None:
        ends = await open_link()
        assert ends.link.note("crash", None)
        with pytest.raises(FlowError) as caught:
            await ask(ends, "crash", None)
        assert caught.value.kind is INTERNAL
        assert caught.value.detail is None
        assert await ask(ends, "echo", 1) == 1

    async def test_the_first_answer_counts(self, open_link: OpenLink) -> None:
        ends = await open_link()
        call = ends.link.call("keep", None, LONG_S)
        await ends.service.journal.has(("request", "keep", None))
        (request,) = ends.service.kept
        request.reply("first")
        request.fail(FlowError(INTERNAL))
        request.reply("third")
        assert decode(await call, str) == "first"
        assert await ask(ends, "echo", 1) == 1

    async def test_a_request_past_its_deadline_fails_and_its_late_reply_is_dropped(self, open_link: OpenLink) -> None:
        ends = await open_link()
        slow = ends.link.call("keep", None, 0.05)
        patient = ends.link.call("keep", None, LONG_S)
        with pytest.raises(FlowError) as caught:
            await slow
        assert caught.value.kind is DEADLINE_EXCEEDED
        for request in ends.service.kept:
            request.reply("late")
        assert decode(await patient, str) == "late"

    async def test_no_time_is_a_deadline_that_has_passed(self, open_link: OpenLink) -> None:
        ends = await open_link()
        with pytest.raises(FlowError) as caught:
            await ends.link.call("echo", 1, 0)
        assert caught.value.kind is DEADLINE_EXCEEDED

    async def test_who_asks_with_a_callback_hears_once_and_in_the_order_of_the_stream(
        self, open_link: OpenLink
    ) -> None:
        ends = await open_link(limits=LinkLimits(max_outstanding_requests=2))
        heard = Journal()

        def answered(answer: msgspec.Raw | FlowError) -> None:
            # With how much had been pushed by then: what stands before the answer, and nothing of what follows it.
            pushed = len(ends.listener.journal.entries) - 1
            heard.add((answer.kind if isinstance(answer, FlowError) else decode(answer, Any), pushed))

        ends.link.ask("push", ["a", "b"], LONG_S, answered)
        assert heard.entries == []
        assert await ask(ends, "push", ["c"]) == 1
        assert heard.entries == [(2, 2)]
        ends.link.ask("refuse", "not_a_member", LONG_S, answered)
        ends.link.ask("keep", None, 0.05, answered)
        with pytest.raises(FlowError) as caught:
            ends.link.ask("echo", None, LONG_S, answered)
        assert caught.value.kind is OVERLOADED
        await heard.has((NOT_A_MEMBER, 3))
        await heard.has((DEADLINE_EXCEEDED, 3))
        assert len(heard.entries) == 3

    async def test_a_break_and_no_time_are_told_to_whoever_asks_with_a_callback(self, open_link: OpenLink) -> None:
        ends = await open_link()
        heard: list[Any] = []
        with pytest.raises(FlowError) as caught:
            ends.link.ask("echo", None, 0, heard.append)
        assert caught.value.kind is DEADLINE_EXCEEDED
        ends.link.ask("keep", None, LONG_S, heard.append)
        await ends.service.journal.has(("request", "keep", None))
        ends.service.peers[0].close("for the test")
        await ends.listener.journal.has("disconnected")
        assert [error.kind for error in heard] == [UNAVAILABLE]
        with pytest.raises(FlowError) as caught:
            ends.link.ask("echo", None, LONG_S, heard.append)
        assert caught.value.kind is UNAVAILABLE

    async def test_what_a_callback_raises_harms_nobody_else(self, open_link: OpenLink) -> None:
        ends = await open_link()

        def answered(answer: msgspec.Raw | FlowError) -> None:
            raise RuntimeError("an answer of this kind is not expected")

        ends.link.ask("echo", 1, LONG_S, answered)
        assert await ask(ends, "echo", 2) == 2
        assert ends.link.is_connected

    async def test_the_service_gets_the_deadline_in_its_own_time(self, open_link: OpenLink) -> None:
        clock = ManualClock()
        clock.advance(1_000_000)
        ends = await open_link(server_clock=clock)
        call = ends.link.call("keep", None, 2.5)
        await ends.service.journal.has(("request", "keep", None))
        assert ends.service.kept[0].deadline == pytest.approx(1_000_002.5)
        call.cancel()

    async def test_the_window_of_requests_is_bounded_and_frees(self, open_link: OpenLink) -> None:
        ends = await open_link(limits=LinkLimits(max_outstanding_requests=3))
        calls = [ends.link.call("keep", number, LONG_S) for number in range(3)]
        with pytest.raises(FlowError) as caught:
            ends.link.call("echo", None, LONG_S)
        assert caught.value.kind is OVERLOADED
        assert caught.value.retry_after_ms
        await ends.service.journal.has(("request", "keep", 2))
        ends.service.kept[0].reply(None)
        await calls[0]
        assert await ask(ends, "echo", 1) == 1

    async def test_a_cancelled_request_leaves_nothing_behind(self, open_link: OpenLink) -> None:
        ends = await open_link(limits=LinkLimits(max_outstanding_requests=1))
        for number in range(20):
            call = ends.link.call("keep", number, LONG_S)
            assert call.cancel()
            assert call.cancelled()
        await ends.service.journal.has(("request", "keep", 19))
        for request in ends.service.kept:
            request.reply("nobody waits")
        assert await ask(ends, "echo", 1) == 1

    async def test_a_request_given_up_by_its_task_leaves_nothing_behind(self, open_link: OpenLink) -> None:
        ends = await open_link(limits=LinkLimits(max_outstanding_requests=1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ends.link.call("keep", None, LONG_S)
        assert await ask(ends, "echo", 1) == 1

    async def test_what_is_too_large_is_refused_on_every_way(self, open_link: OpenLink) -> None:
        ends = await open_link(limits=LinkLimits(max_frame_bytes=2_048))
        large = b"\0" * 2_048
        for send in (
            lambda: ends.link.call("echo", large, LONG_S),
            lambda: ends.link.note("n", large),
            lambda: ends.service.peers[0].push("t", large),
        ):
            with pytest.raises(FlowError) as caught:
                send()
            assert caught.value.kind is TOO_LARGE
        with pytest.raises(FlowError) as caught:
            await ask(ends, "zeros", 4_096)
        assert caught.value.kind is TOO_LARGE
        assert await ask(ends, "zeros", 1_024) == b"\0" * 1_024

    async def test_a_body_that_msgpack_cannot_hold_is_the_callers_mistake(self, open_link: OpenLink) -> None:
        ends = await open_link(limits=LinkLimits(max_outstanding_requests=1))
        for _ in range(3):
            with pytest.raises(TypeError):
                ends.link.call("echo", object(), LONG_S)
        assert await ask(ends, "echo", 1) == 1

    async def test_a_break_fails_what_is_outstanding_and_is_told_once(self, open_link: OpenLink) -> None:
        ends = await open_link()
        calls = [ends.link.call("keep", number, LONG_S) for number in range(3)]
        await ends.service.journal.has(("request", "keep", 2))
        peer = ends.service.peers[0]
        peer.close("for the test")
        assert not peer.push("t", None)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [outcome.kind for outcome in outcomes if isinstance(outcome, FlowError)] == [UNAVAILABLE] * 3
        await ends.listener.journal.has("disconnected")
        await ends.service.journal.has(("lost", "edge-0"))
        for request in ends.service.kept:
            request.reply("to nobody")
        assert ends.listener.journal.entries == ["connected", "disconnected"]

    async def test_without_a_connection_nothing_is_sent(self, open_link: OpenLink) -> None:
        ends = await open_link()
        ends.service.peers[0].close("for the test")
        await ends.listener.journal.has("disconnected")
        assert not ends.link.is_connected
        assert not ends.link.note("n", None)
        with pytest.raises(FlowError) as caught:
            ends.link.call("echo", None, LONG_S)
        assert caught.value.kind is UNAVAILABLE

    async def test_a_link_that_broke_works_again(self, open_link: OpenLink) -> None:
        ends = await open_link()
        ends.service.peers[0].close("for the test")
        await ends.listener.journal.has("disconnected")
        await ends.reconnect()
        assert ends.link.is_connected
        assert await ask(ends, "echo", 1) == 1
        assert ends.listener.journal.entries == ["connected", "disconnected", "connected"]

    async def test_a_peer_that_reads_too_slowly_is_closed(self, open_link: OpenLink) -> None:
        ends = await open_link(limits=LinkLimits(max_frame_bytes=1 << 20, max_unsent_bytes=4 << 20))
        ends.stop_reading()
        peer = ends.service.peers[0]
        sent = 0
        body = b"\0" * (512 << 10)
        while peer.push("t", body):
            sent += 1
            assert sent < 200, "the bound does not hold"
            await asyncio.sleep(0)
        assert sent >= 8
        await ends.service.journal.has(("lost", "edge-0"))
        assert not peer.push("t", None)

    async def test_closing_fails_what_is_outstanding(self, open_link: OpenLink) -> None:
        ends = await open_link()
        call = ends.link.call("keep", None, LONG_S)
        assert ends.link.note("last", 1)
        await ends.link.close()
        await ends.link.close()
        with pytest.raises(FlowError) as caught:
            await call
        assert caught.value.kind is UNAVAILABLE
        assert not ends.link.is_connected
        assert ends.listener.journal.entries == ["connected", "disconnected"]
        await ends.service.journal.has(("lost", "edge-0"))

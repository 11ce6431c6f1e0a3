"""A TCP relay between two ends that a test can stall in either direction or cut."""

import asyncio
from collections.abc import Callable
from contextlib import suppress


class Relay:
    """Listens on a loopback port and passes bytes to `target` and back."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self.choose: Callable[[bytes], tuple[str, int]] | None = None
        """Where a connection goes, by the first bytes that come on it; None: to the target."""
        self._to_target = asyncio.Event()
        self._to_target.set()
        self._to_client = asyncio.Event()
        self._to_client.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._server: asyncio.Server | None = None
        self._refuses = False

    async def start(self) -> tuple[str, int]:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return host, port

    def point_at(self, target: tuple[str, int]) -> None:
        """New connections go there."""
        self._target = target

    def stall(self, *, to_target: bool = False, to_client: bool = False) -> None:
        """Pass on nothing more in that direction; the connection stays open."""
        if to_target:
            self._to_target.clear()
        if to_client:
            self._to_client.clear()

    def refuse(self) -> None:
        """Reset every connection there is, and each new one, until `resume`."""
        self._refuses = True
        self.cut()

    def resume(self) -> None:
        self._refuses = False
        self._to_target.set()
        self._to_client.set()

    def cut(self) -> None:
        """Reset every connection that passes through."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        self.resume()
        if self._server is not None:
            self._server.close()
        self.cut()
        await self._idle.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        self._writers.add(writer)
        self._idle.clear()
        ends = {writer}
        try:
            first = b"" if self.choose is None else await reader.read(65_536)
            target = self._target if self.choose is None else self.choose(first)
            far_reader, far_writer = await asyncio.open_connection(*target)
            far_writer.write(first)
            ends.add(far_writer)
            self._writers.add(far_writer)
            await asyncio.gather(
                self._pass_on(reader, far_writer, self._to_target), self._pass_on(far_reader, writer, self._to_client)
            )
        except OSError:
            writer.transport.abort()
        finally:
            self._writers -= ends
            if not self._writers:
                self._idle.set()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await gate.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

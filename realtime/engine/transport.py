"""What a session asks of its transport and what a transport tells its session. Both transports keep this contract."""

from typing import Protocol

from realtime.engine.wire import Wire


class Transport(Protocol):
    """Sends in the order of the calls. None of these calls back into the application."""

    name: str
    """`websocket` or `polling`."""

    def push(self, wire: Wire) -> None:
        """Send, or keep until the client can take it. Over the outbox limit the listener is told instead."""

    def share(self, wire: Wire) -> None:
        """As `push`, for what goes to others too: it may leave a few milliseconds later, together with more."""

    def unsent_bytes(self) -> int: ...

    def close(self, code: int, reason: str, *, linger: bool = False, by_client: bool = False) -> None:
        """Send what was pushed and then the end. The listener's `lost` follows when the client has gone.

        With `linger`, a transport that the client has to ask for messages keeps them for a while.
        """

    def abort(self) -> None:
        """End at once, unsent bytes dropped. The listener's `lost` follows."""


class TransportListener(Protocol):
    """Whoever a transport belongs to: a session, or an upgrade that is not complete."""

    def receive(self, packet: str | bytes) -> bool:
        """One Engine.IO packet: text with its type, or the bytes of a message. False if it broke the protocol."""

    def overflowed(self) -> None:
        """The client reads too slowly for its outbox."""

    def lost(self, reason: str) -> None:
        """The transport has gone, by whichever side. Called once."""

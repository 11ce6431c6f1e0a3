"""The newest messages of one chat room, kept in memory within bounds in items and bytes, and found again by their
idempotency key. Pure; owned by the room's machine.

Messages in a window are contiguous: it always ends at the room's newest seq and never has a hole.
"""

from collections.abc import Iterable

from storage.records import Message

_OVERHEAD_BYTES = 400
"""What a message costs in memory beyond its text, roughly."""


def size_of(message: Message) -> int:
    return _OVERHEAD_BYTES + 2 * len(message.text)


class ChatWindow:
    __slots__ = ("_by_key", "_bytes", "_max_bytes", "_max_messages", "_messages")

    def __init__(self, messages: Iterable[Message], max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: list[Message] = []  # a deque would cost 600 bytes for each quiet room
        self._by_key: dict[tuple[str, str], Message] = {}
        self._bytes = 0
        for message in messages:
            self.add(message)

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def add(self, message: Message) -> None:
        """The next message of the room. The oldest make room for it."""
        self._messages.append(message)
        self._by_key[message.user_id, message.client_message_id] = message
        self._bytes += size_of(message)
        self.shrink(self._max_messages, self._max_bytes)

    def shrink(self, max_messages: int, max_bytes: int) -> None:
        """Drop the oldest until at most this much is held."""
        excess = 0
        while excess < len(self._messages) and (len(self._messages) - excess > max_messages or self._bytes > max_bytes):
            self._forget(self._messages[excess])
            excess += 1
        if excess:
            del self._messages[:excess]

    def compact(self, max_messages: int, max_bytes: int) -> None:
        """Shrink, and give back the space that once held more: neither a list nor a dict does so by itself."""
        self.shrink(max_messages, max_bytes)
        self._messages = self._messages.copy()
        self._by_key = self._by_key.copy()

    def drop_from(self, seq: int) -> None:
        """Forget the messages with this seq or a greater one."""
        while self._messages and self._messages[-1].seq >= seq:
            self._forget(self._messages.pop())

    def _forget(self, message: Message) -> None:
        self._bytes -= size_of(message)
        key = (message.user_id, message.client_message_id)
        if self._by_key.get(key) is message:
            del self._by_key[key]

    def by_key(self, user_id: str, client_message_id: str) -> Message | None:
        return self._by_key.get((user_id, client_message_id))

    def after(self, seq: int) -> list[Message] | None:
        """Every message with a greater seq, or None when the window does not reach back that far. A seq at or past the
        newest gives an empty list only if the window is not empty."""
        messages = self._messages
        if not messages or messages[0].seq > seq + 1:
            return None
        return messages[seq + 1 - messages[0].seq :]

    def before(self, seq: int | None, limit: int) -> list[Message] | None:
        """The newest `limit` with a smaller seq, or None when the window does not hold them all."""
        messages = self._messages
        if not messages:
            return None
        first = messages[0].seq
        end = len(messages) if seq is None else min(len(messages), max(0, seq - first))
        start = end - limit
        if start < 0:
            if first > 1:
                return None
            start = 0
        return messages[start:end]

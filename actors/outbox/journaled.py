"""Stores messages with their numbers in the host's journal, and keeps the journal's picture of what is stored right."""

from collections.abc import Sequence

from actors.outbox.journal import Journal
from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.ports import ChatLog
from storage.records import AppendResult, Message


class JournaledLog:
    """The committer's way to the chat log. One `append` at a time: a batch whose outcome is unknown is given again, as
    it is, until it has an answer."""

    def __init__(self, chat_log: ChatLog, journal: Journal) -> None:
        self._chat_log = chat_log
        self._journal = journal

    async def append(self, messages: Sequence[Message], owed: Sequence[bool]) -> AppendResult:
        """As the chat log's. Raises FlowError UNAVAILABLE when the outcome is unknown."""
        debts = self._journal.number(owed)
        try:
            result = await self._chat_log.append(messages, debts)
        except Exception as error:
            if not (isinstance(error, FlowError) and error.kind is UNAVAILABLE):
                self._journal.lose()  # it is not given again, and part of it may be stored
            raise
        self._journal.stored(messages[: result.stored], debts[: result.stored])
        return result

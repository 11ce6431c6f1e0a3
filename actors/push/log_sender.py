"""The sender of an installation without push credentials: one log line a push, without its text; nothing is sent."""

import logging
from collections.abc import Sequence

from actors.push.port import Outcome, Push, PushResult

_log = logging.getLogger("flow.push")


class LogSender:
    async def send(self, pushes: Sequence[Push]) -> list[PushResult]:
        for push in pushes:
            _log.info("push %s to device %s not sent: no credentials", push.row.id, push.device.id)
        return [PushResult(outcome=Outcome.SENT)] * len(pushes)

    async def close(self) -> None:
        return None

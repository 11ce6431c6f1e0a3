"""What answers to events owe: a record for analytics, and word to the organizer and to whoever moved up from the line.

Used by the relay. Answers are few and replaced in place, so each is found by a query and leased by itself.
"""

from typing import Protocol

from actors.outbox import acts, texts
from actors.outbox.port import EventTitles
from actors.outbox.rooms import Mistakes
from actors.outbox.teller import Teller, TellerPorts
from storage.bounds import batches
from storage.ports import Analytics, RsvpLedger
from storage.records import Rsvp


class AnswerPorts(TellerPorts, Protocol):
    @property
    def rsvps(self) -> RsvpLedger: ...
    @property
    def analytics(self) -> Analytics: ...


class AnswerTeller:
    def __init__(self, ports: AnswerPorts, event_titles: EventTitles, teller: Teller, mistakes: Mistakes) -> None:
        self._ports = ports
        self._event_titles = event_titles
        self._teller = teller
        self._mistakes = mistakes
        self.recorded = 0

    async def round(self, worker: str, now_ms: int, lease_ms: int, most: int) -> int:
        """How many answers, of at most so many, owe nothing any more. Raises FlowError when a part is away."""
        owed = await self._ports.rsvps.lease_owed(worker, now_ms, lease_ms, most)
        done_by = [act for answer in owed for act in acts.of_answer(answer)]
        for some in batches(done_by):
            self.recorded += await self._ports.analytics.record(some)
        done: list[Rsvp] = []
        for answer in owed:
            error = await self._mistakes.of(self._tell(answer.rsvp), answer.rsvp.event_id)
            if error is None:
                done.append(answer.rsvp)
            else:
                await self._ports.rsvps.fail_owed([answer.rsvp], error)
        if done:
            await self._ports.rsvps.settle_owed(done)
        return len(done)

    async def _tell(self, rsvp: Rsvp) -> None:
        if rsvp.status != "going":
            return
        event = await self._event_titles.title(rsvp.event_id)
        if event is None:
            return
        cause = f"{rsvp.event_id}:{rsvp.user_id}:{rsvp.status}:{rsvp.at_ms}"
        if rsvp.promoted:
            await self._teller.tell(rsvp.user_id, cause, texts.promoted(rsvp, event.title), "events")
        if rsvp.user_id != event.organizer_id:
            person = await self._ports.users.by_id(rsvp.user_id)
            text = texts.rsvp_for_organizer(rsvp, person.name if person else "Someone", event.title)
            await self._teller.tell(event.organizer_id, cause, text, "events")

"""From an answer to what analytics keeps of it: pure, with ids that follow from the cause alone."""

from storage.records import AnalyticsEvent, OwedRsvp, Rsvp


def of_answer(owed: OwedRsvp) -> list[AnalyticsEvent]:
    """The answer, and those before it that nobody had recorded when it replaced them."""
    return [_of_rsvp(rsvp) for rsvp in (*owed.earlier, owed.rsvp)]


def _of_rsvp(rsvp: Rsvp) -> AnalyticsEvent:
    return AnalyticsEvent(
        id=f"rsvp:{rsvp.event_id}:{rsvp.user_id}:{rsvp.status}:{rsvp.at_ms}",
        kind="rsvp",
        user_id=rsvp.user_id,
        subject=rsvp.event_id,
        action=rsvp.status,
        at_ms=rsvp.at_ms,
    )

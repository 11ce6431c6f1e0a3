"""What every Analytics must do. A test module subclasses it and gives the fixture `analytics`."""

import pytest

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from storage.ports import Analytics
from storage.records import AnalyticsEvent


def event(id_: str, *, action: str = "going") -> AnalyticsEvent:
    return AnalyticsEvent(id=id_, kind="rsvp", user_id="anna", subject="event", action=action, at_ms=1_900_000_000_000)


class AnalyticsContract:
    async def test_each_act_is_recorded_once(self, analytics: Analytics) -> None:
        assert await analytics.record([]) == 0
        assert await analytics.record([event("a"), event("b")]) == 2
        assert await analytics.record([event("b"), event("c"), event("a")]) == 1

    async def test_a_batch_is_bounded(self, analytics: Analytics) -> None:
        with pytest.raises(FlowError) as caught:
            await analytics.record([event(str(n)) for n in range(501)])
        assert caught.value.kind is INVALID_REQUEST

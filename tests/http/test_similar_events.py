"""Events like another one: the recommender's when it answers, those of the category when it does not."""

import pytest

from cluster.kernel.errors import UNAVAILABLE, FlowError
from tests.http.harness import Api

pytestmark = pytest.mark.storage


async def test_similar_events_are_the_model_s_or_of_the_category(api: Api) -> None:
    host, ada = await api.someone(), await api.someone()
    one, two, secret, other = [
        await api.event(host, title=title, category=category, visibility=visibility)
        for title, category, visibility in (
            ("one", "music", "public"),
            ("two", "music", "public"),
            ("secret", "music", "private"),
            ("other", "sport", "public"),
        )
    ]
    api.recommender.events = [(secret["id"], 0.9), (other["id"], 0.5)]
    found = await api.call("GET", f"/v1/events/{one['id']}/similar", who=ada)
    assert [(item["id"], item["because"]) for item in found.body["items"]] == [(other["id"], ["Both are loud."])]
    assert (found.body["fallback"], found.body["modelVersion"]) == (False, "2026-01-01")
    api.recommender.error = FlowError(UNAVAILABLE)
    found = await api.call("GET", f"/v1/events/{one['id']}/similar", who=ada)
    assert [item["id"] for item in found.body["items"]] == [two["id"]]
    assert found.body["fallback"] is True
    assert (await api.call("GET", f"/v1/events/{secret['id']}/similar", who=ada)).code == "forbidden"
    assert (await api.call("GET", f"/v1/events/{'f' * 24}/similar", who=ada)).code == "event_not_found"

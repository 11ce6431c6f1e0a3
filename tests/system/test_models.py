"""Import, train, recommend: what an operator and an ML engineer do, through the command line."""

import csv
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.flow_process import FlowProcess, Person

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
Register = Callable[..., Awaitable[Person]]


@pytest.fixture(scope="module")
def conference_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty conferences on two topics, and two lines that cannot be events."""
    path = tmp_path_factory.mktemp("import") / "events.jsonl"
    cities = [("Berlin", "Germany"), ("Paris", "France"), ("Amsterdam", "Netherlands")]
    lines = []
    for index in range(60):
        city, country = cities[index % 3]
        line = {
            "name": f"Conference {index}",
            "url": f"https://example.org/{index}",
            "startDate": "2031-05-01",
            "endDate": "2031-05-02",
            "city": city,
            "country": country,
            "online": False,
            "topics": ["python" if index % 2 else "jazz"],
        }
        lines.append(json.dumps(line))
    lines.insert(10, "{broken")
    lines.insert(20, json.dumps({**json.loads(lines[0]), "city": "Atlantis"}))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_importing_events_twice_changes_nothing(flow: FlowProcess, conference_file: Path) -> None:
    first = json.loads(flow.run("import", "events", str(conference_file), "--json").stdout)
    assert (first["imported"], first["unchanged"], first["rejected"]) == (60, 0, 2)
    assert {entry["line"] for entry in first["reasons"]} == {11, 21}
    again = json.loads(flow.run("import", "events", str(conference_file), "--json").stdout)
    assert (again["imported"], again["updated"], again["unchanged"], again["rejected"]) == (0, 0, 60, 2)


async def test_imported_events_are_on_the_map_and_found_by_text(person: Register) -> None:
    ada = await person()
    near = await ada.call_http("GET", "/v1/events", near="13.405,52.52", radiusKm="30", limit="100")
    found = {event["title"] for event in near["items"]}
    assert {f"Conference {index}" for index in range(0, 60, 3)} <= found
    assert "Conference 1" not in found
    by_text = await ada.call_http("GET", "/v1/events", q="Conference 7", limit="5")
    assert "Conference 7" in {event["title"] for event in by_text["items"]}


async def test_without_a_model_the_answer_is_marked_a_fallback(person: Register) -> None:
    ada = await person(interests=["python"])
    picks = await ada.call_http("GET", "/v1/recommendations", type="ai_personalized", limit="5")
    assert picks["fallback"] is True


async def test_a_trained_model_goes_live_without_a_restart(
    person: Register, flow: FlowProcess, conference_file: Path, tmp_path: Path
) -> None:
    fan = await person(interests=["python"])
    events = (await fan.call_http("GET", "/v1/events", q="Conference", limit="100"))["items"]
    by_topic = {topic: [event["id"] for event in events if topic in event["tags"]] for topic in ("python", "jazz")}
    chance = random.Random(7)
    path = tmp_path / "interactions.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "action", "timestamp"])
        for index in range(80):
            topic = "python" if index % 2 else "jazz"
            for event_id in chance.sample(by_topic[topic], 8):
                writer.writerow([f"crowd-{index}", event_id, "attend", 1_750_000_000 + index])
        writer.writerows([fan.id, event_id, "attend", 1_750_000_500] for event_id in by_topic["python"][:5])
        writer.writerow(["crowd-1", "", "attend", 1])
    first = json.loads(flow.run("import", "interactions", str(path), "--json").stdout)
    assert (first["imported"], first["rejected"]) == (645, 1)
    again = json.loads(flow.run("import", "interactions", str(path), "--json").stdout)
    assert (again["imported"], again["unchanged"]) == (0, 645)
    trained = json.loads(flow.run("train", "--json", timeout_s=400).stdout)
    assert trained["version"]
    picks = await fan.call_http("GET", "/v1/recommendations", type="ai_personalized", limit="5")
    while picks["fallback"]:
        picks = await fan.call_http("GET", "/v1/recommendations", type="ai_personalized", limit="5")
    assert picks["modelVersion"] == trained["version"]
    assert sum("python" in item["tags"] for item in picks["items"]) >= 4
    known = set(by_topic["python"][:5])
    assert not known & {item["id"] for item in picks["items"]}, "what the fan already went to is not recommended"

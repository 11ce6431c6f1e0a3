"""Which events stay where there are more than a replica may hold: those that end soonest. Pure; used by the engine.

What ends soonest is what people can still decide about least long, and a reading of the catalogue comes in that order.
An event that is over takes nobody's place. Of those that end at the same moment, what is held already stays.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from serve_apps.contracts import CatalogueEvent
from serve_apps.pipeline.columns import Columns, Rows


def soonest(events: Sequence[CatalogueEvent], most: int) -> Sequence[CatalogueEvent]:
    """As they are while they are few enough."""
    return events if len(events) <= most else sorted(events, key=lambda event: (event.end_ms, event.event_id))[:most]


def hopeless(columns: Columns, events: Sequence[CatalogueEvent], most: int, now_ms: int) -> set[str]:
    """The ids of those that are new and end no sooner than `most` that are held: they need not even be embedded."""
    ends = columns.end_ms[_live(columns, now_ms)]
    if ends.size < most:
        return set()
    last = int(np.partition(ends, most - 1)[most - 1])
    return {event.event_id for event in events if event.event_id not in columns.row_of and event.end_ms >= last}


def closed_beyond(columns: Columns, most: int, now_ms: int) -> tuple[Columns, Rows]:
    """With the rows closed that are too many, and those rows."""
    live = _live(columns, now_ms)
    if live.size <= most:
        return columns, live[:0]
    closed = live[np.argsort(columns.end_ms[live], kind="stable")[most:]]
    is_open = columns.is_open.copy()
    is_open[closed] = False
    return replace(columns, is_open=is_open), closed


def _live(columns: Columns, now_ms: int) -> Rows:
    rows: Rows = np.flatnonzero(columns.is_open & (columns.end_ms > now_ms))
    return rows

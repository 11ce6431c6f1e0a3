"""Milliseconds and BSON dates: people, events and groups keep dates, the rest of the project counts milliseconds."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_date(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def to_ms(date: datetime) -> int:
    """A date without a zone is taken as UTC."""
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return (date - _EPOCH) // timedelta(milliseconds=1)


def to_iso(date: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and a Z."""
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return date.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

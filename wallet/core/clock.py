"""Time: microseconds since the epoch inside, Japanese days at the edges.

Only doors (HTTP, command line, the teller's loop) hold a :class:`Clock`; everything below them
takes ``now`` as an argument.
"""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

JST = timezone(timedelta(hours=9), "JST")
"""Japan has had no daylight saving since 1952, so a fixed offset is exact."""

MICROSECONDS = 1_000_000

Clock = Callable[[], int]
"""Returns the moment in microseconds since the epoch."""


def system_clock() -> int:
    """Return the machine's time in microseconds since the epoch."""
    return time.time_ns() // 1000


class TestClock:
    """A clock that moves only when told; for tests and rehearsals."""

    __test__ = False  # The name starts with Test, and pytest would collect it.

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def advance(self, *, seconds: float) -> None:
        """Move forward by ``seconds``."""
        self.now_us += int(seconds * MICROSECONDS)


def to_datetime(now_us: int) -> datetime:
    """Return ``now_us`` as an aware UTC datetime, exact to the microsecond."""
    seconds, microseconds = divmod(now_us, MICROSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


def to_microseconds(moment: datetime) -> int:
    """Return an aware datetime as microseconds since the epoch, exact."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * MICROSECONDS + delta.microseconds


def japanese_day(now_us: int) -> date:
    """Return the calendar day in Japan at ``now_us``."""
    seconds = now_us // MICROSECONDS + 9 * 3600
    return date.fromordinal(719_163 + seconds // 86_400)


def rfc3339(now_us: int) -> str:
    """Return ``now_us`` as RFC 3339 in UTC with milliseconds, e.g. ``2026-10-01T03:00:00.000Z``."""
    return to_datetime(now_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")

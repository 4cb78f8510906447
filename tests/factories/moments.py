"""The moment tests happen at."""

from datetime import datetime

from wallet.core.clock import JST, to_microseconds

NOW = datetime(2026, 11, 25, 12, tzinfo=JST)
NOW_US = to_microseconds(NOW)
"""Noon in Japan, in the middle of a month that the ledger has a partition for."""

PEPPER = b"a pepper for tests, which is at least 32 bytes"


def japanese(text: str) -> int:
    """Return an ISO 8601 time in Japan as microseconds since the epoch."""
    return to_microseconds(datetime.fromisoformat(text).replace(tzinfo=JST))

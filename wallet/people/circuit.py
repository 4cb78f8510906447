"""A circuit breaker: after some failures in a row nobody waits for a service that is down."""

from collections.abc import Callable
from time import monotonic
from typing import Final

FAILURES_MAX: Final = 5
OPEN_S: Final = 30.0


class Circuit:
    """Closed while calls succeed; open for :data:`OPEN_S` after :data:`FAILURES_MAX` failures.

    After that one caller tries, and how that goes decides for everybody.
    """

    def __init__(self, *, seconds: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._failures = 0
        self._closed_from_s = 0.0

    def is_open(self) -> bool:
        """Whether to give up at once; the first caller after the pause is let through to try."""
        if self._failures < FAILURES_MAX:
            return False
        now_s = self._seconds()
        if now_s < self._closed_from_s:
            return True
        self._closed_from_s = now_s + OPEN_S
        return False

    def failed(self) -> None:
        """Note a failure."""
        self._failures += 1
        if self._failures >= FAILURES_MAX:
            self._closed_from_s = self._seconds() + OPEN_S

    def succeeded(self) -> None:
        """Note a success: whatever was before is over."""
        self._failures = 0

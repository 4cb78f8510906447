"""Time: exact to the microsecond inside, Japanese days at the edges."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.moments import japanese
from wallet.core.clock import (
    JST,
    TestClock,
    japanese_day,
    rfc3339,
    system_clock,
    to_datetime,
    to_microseconds,
)

MOMENTS = st.integers(0, to_microseconds(datetime(9999, 12, 31, tzinfo=UTC)))


@given(now_us=MOMENTS)
def test_a_moment_survives_the_way_to_a_datetime_and_back(now_us: int) -> None:
    moment = to_datetime(now_us)
    assert moment.tzinfo is UTC
    assert to_microseconds(moment) == now_us
    assert to_microseconds(moment.astimezone(JST)) == now_us


@given(now_us=MOMENTS)
def test_the_day_in_japan_is_that_of_the_calendar(now_us: int) -> None:
    assert japanese_day(now_us) == to_datetime(now_us).astimezone(JST).date()


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-11-25T00:00:00", date(2026, 11, 25)),
        ("2026-11-24T23:59:59.999999", date(2026, 11, 24)),
        ("2028-02-29T12:00:00", date(2028, 2, 29)),
        ("2027-01-01T00:00:00", date(2027, 1, 1)),
    ],
)
def test_a_day_begins_at_midnight_in_japan(moment: str, day: date) -> None:
    assert japanese_day(japanese(moment)) == day


def test_japan_is_nine_hours_ahead_all_year() -> None:
    assert JST.utcoffset(None) == timedelta(hours=9)


@pytest.mark.asvs("v5.0.0-16.2.2")
def test_a_moment_is_written_in_utc_with_milliseconds() -> None:
    assert rfc3339(japanese("2026-10-01T12:00:00")) == "2026-10-01T03:00:00.000Z"
    assert rfc3339(japanese("2026-10-01T12:00:00.123999")) == "2026-10-01T03:00:00.123Z"


def test_the_tests_clock_moves_only_when_told() -> None:
    clock = TestClock(5)
    assert (clock(), clock()) == (5, 5)
    clock.advance(seconds=1.5)
    assert clock() == 1_500_005


def test_the_systems_clock_counts_microseconds_of_today() -> None:
    assert abs(to_datetime(system_clock()) - datetime.now(UTC)) < timedelta(minutes=1)

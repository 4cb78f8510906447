"""Until when money is good: fixed days, months after an issue, fiscal years."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.programmes import spending
from wallet.programmes.terms import Expiry, Terms, add_months, expires_on_of

LAST_DAY = date(2030, 12, 31)
DAYS = st.dates(date(2020, 1, 1), date(2030, 12, 31))


def terms(**expiry: object) -> Terms:
    """Return terms with a rule of expiry, in a programme that lasts until 2030."""
    days = spending(first_day=date(2020, 1, 1), last_day=LAST_DAY)
    return Terms(name="地域コイン", spending=days, expiry=Expiry(**expiry))  # type: ignore[arg-type] # fields of many types


@pytest.mark.parametrize(
    ("expiry", "issued_on", "expires_on"),
    [
        ({}, date(2026, 4, 1), LAST_DAY),
        ({"rule": "months_after_issue", "months": 6}, date(2026, 4, 1), date(2026, 10, 31)),
        ({"rule": "months_after_issue", "months": 6}, date(2026, 8, 31), date(2027, 2, 28)),
        ({"rule": "months_after_issue", "months": 6}, date(2027, 8, 29), date(2028, 2, 29)),
        ({"rule": "months_after_issue", "months": 1}, date(2026, 12, 31), date(2027, 1, 31)),
        (
            {"rule": "months_after_issue", "months": 6, "month_end": False},
            date(2026, 4, 15),
            date(2026, 10, 15),
        ),
        (
            {"rule": "months_after_issue", "months": 6, "month_end": False},
            date(2026, 8, 31),
            date(2027, 2, 28),
        ),
        (
            {"rule": "after_last_use", "months": 12, "month_end": False},
            date(2026, 4, 15),
            date(2027, 4, 15),
        ),
        ({"rule": "fiscal_year"}, date(2026, 3, 31), date(2026, 3, 31)),
        ({"rule": "fiscal_year"}, date(2026, 4, 1), date(2027, 3, 31)),
        ({"rule": "fiscal_year", "years": 1}, date(2026, 12, 31), date(2028, 3, 31)),
        ({"rule": "months_after_issue", "months": 6}, date(2030, 10, 1), LAST_DAY),
        ({"rule": "fiscal_year", "years": 9}, date(2029, 10, 1), LAST_DAY),
    ],
)
def test_money_of_a_day_is_good_until_its_day(
    expiry: dict[str, object], issued_on: date, expires_on: date
) -> None:
    assert expires_on_of(terms(**expiry), issued_on) == expires_on


@given(
    day=DAYS,
    rule=st.sampled_from(["fixed", "months_after_issue", "after_last_use", "fiscal_year"]),
    months=st.integers(1, 120),
    month_end=st.booleans(),
)
def test_no_money_outlives_its_programme_or_ends_before_it_was_issued(
    day: date, rule: str, months: int, *, month_end: bool
) -> None:
    expires_on = expires_on_of(terms(rule=rule, months=months, month_end=month_end), day)
    assert day <= expires_on <= LAST_DAY


@given(day=DAYS, months=st.integers(1, 120), month_end=st.booleans())
def test_money_issued_later_never_ends_earlier(day: date, months: int, *, month_end: bool) -> None:
    rule = terms(rule="months_after_issue", months=months, month_end=month_end)
    assert expires_on_of(rule, day) <= expires_on_of(rule, day + timedelta(days=1))


@given(DAYS, st.integers(0, 120))
def test_months_are_added_to_the_same_day_or_the_months_last(day: date, months: int) -> None:
    later = add_months(day, months)
    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == months
    assert later.day == day.day or (later + timedelta(days=1)).day == 1

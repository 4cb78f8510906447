"""The pure rules of coupons: what one takes off, and how often."""

from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.bonuses import coupon
from wallet.programmes.coupons import has_uses_left, problems_of_coupons, yen_off
from wallet.programmes.rules import Shop

GROCER = Shop(uuid4(), "groceries", small=True)
MALL = Shop(uuid4(), "clothing", small=False)
DAY = date(2026, 11, 25)


@pytest.mark.parametrize(
    ("changes", "price_yen", "off_yen"),
    [
        ({}, 1_000, 300),
        ({}, 499, 0),
        ({"minimum_yen": 1}, 300, 299),
        ({"off_yen": 0, "percent": 15}, 1_009, 151),
        ({"off_yen": 0, "percent": 50, "ceiling_yen": 400}, 1_000, 400),
        ({"first_day": date(2026, 11, 26)}, 1_000, 0),
        ({"last_day": date(2026, 11, 24)}, 1_000, 0),
        ({"first_day": DAY, "last_day": DAY}, 1_000, 300),
    ],
)
def test_a_coupon_takes_off_what_it_says(
    changes: dict[str, Any], price_yen: int, off_yen: int
) -> None:
    assert yen_off(coupon(**changes), price_yen=price_yen, shop=GROCER, day=DAY) == off_yen


@pytest.mark.parametrize(
    "changes",
    [
        {"shops": "small"},
        {"categories": frozenset({"groceries"})},
        {"shop_ids": frozenset({GROCER.id})},
    ],
)
def test_a_coupon_is_good_in_the_shops_it_names(changes: dict[str, Any]) -> None:
    off = [yen_off(coupon(**changes), price_yen=1_000, shop=one, day=DAY) for one in (GROCER, MALL)]
    assert off == [300, 0]


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 100))
def test_at_least_one_yen_is_left_to_pay(price_yen: int, off_yen: int, percent: int) -> None:
    made = coupon(off_yen=off_yen, percent=percent, minimum_yen=1)
    off = yen_off(made, price_yen=price_yen, shop=GROCER, day=DAY)
    assert 0 <= off < price_yen


@pytest.mark.parametrize(
    ("changes", "uses", "uses_in_all", "left"),
    [
        ({}, 0, 10**6, True),
        ({}, 1, 1, False),
        ({"per_person": None}, 99, 99, True),
        ({"first": 100}, 0, 99, True),
        ({"first": 100}, 0, 100, False),
    ],
)
def test_uses_are_counted(
    changes: dict[str, Any], uses: int, uses_in_all: int, *, left: bool
) -> None:
    assert has_uses_left(coupon(**changes), uses=uses, uses_in_all=uses_in_all) is left


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"percent": 5}, "write one of off_yen and percent"),
        ({"off_yen": 0}, "write one of off_yen and percent"),
        ({"off_yen": 0, "percent": 120}, "use 0 to 100"),
        ({"ceiling_yen": 0}, "at least 1 yen"),
        ({"first_day": date(2026, 2, 1), "last_day": date(2026, 1, 1)}, "is before first_day"),
        ({"per_person": 0}, "at least 1"),
        ({"entry_code": "abc"}, "capital letters"),
        ({"code": "Spring"}, "small letters"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], words: str) -> None:
    (problem,) = problems_of_coupons([coupon(**{"code": "spring", **changes})])
    assert words in problem


def test_two_coupons_of_one_code_are_told_apart_by_nobody() -> None:
    assert problems_of_coupons([coupon()] * 2) == ["coupons: two have the code 'spring'."]

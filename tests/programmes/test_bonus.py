"""The pure rules of bonuses: when, where, how much, and which together."""

from datetime import date, datetime, time
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.bonuses import bonus
from wallet.core.clock import JST
from wallet.programmes.bonus import (
    BONUSES_MAX,
    WEEKDAYS,
    Band,
    Bonus,
    BySize,
    Every,
    Hours,
    caps_of,
    choose,
    is_due,
    most_of,
    problems_of_bonuses,
    yen_of,
)
from wallet.programmes.rules import Shop

GROCER = Shop(uuid4(), "groceries", small=True)
BRANCH = Shop(uuid4(), "groceries", small=False, chain=True)
MALL = Shop(uuid4(), "clothing", small=False)

NOON = datetime(2026, 11, 25, 12, tzinfo=JST)
"""A Wednesday."""


@pytest.mark.parametrize(
    ("changes", "base_yen", "yen"),
    [
        ({"percent": 10}, 1_259, 125),
        ({"percent": 10}, 9, 0),
        ({"percent": 0, "every": Every(yen=200, bonus_yen=1)}, 999, 4),
        ({"percent": 0, "every": Every(yen=200, bonus_yen=1)}, 199, 0),
        ({"percent": 10, "minimum_yen": 1_000}, 999, 0),
        ({"percent": 10, "minimum_yen": 1_000}, 1_000, 100),
        ({"percent": 10, "payment_cap_yen": 70}, 1_000, 70),
    ],
)
def test_a_bonus_is_rounded_down_and_capped(
    changes: dict[str, Any], base_yen: int, yen: int
) -> None:
    assert yen_of(bonus(**changes), base_yen=base_yen, shop=GROCER) == yen


@pytest.mark.parametrize(
    ("base_yen", "yen"), [(999, 0), (1_000, 50), (4_999, 50), (5_000, 300), (10**6, 300)]
)
def test_the_highest_band_that_was_reached_counts(base_yen: int, yen: int) -> None:
    bands = (Band(from_yen=5_000, bonus_yen=300), Band(from_yen=1_000, bonus_yen=50))
    assert yen_of(bonus(percent=0, bands=bands), base_yen=base_yen, shop=GROCER) == yen


@pytest.mark.parametrize(("shop", "yen"), [(GROCER, 100), (BRANCH, 30), (MALL, 0), (None, 0)])
def test_the_size_of_the_shop_tells_the_percent(shop: Shop | None, yen: int) -> None:
    sized = bonus(percent=0, percent_by_size=BySize(small=10, chain=3))
    assert yen_of(sized, base_yen=1_000, shop=shop) == yen


@pytest.mark.parametrize(
    "changes",
    [
        {"shops": "small"},
        {"categories": frozenset({"groceries"})},
        {"excluded_categories": frozenset({"clothing"})},
        {"shop_ids": frozenset({GROCER.id})},
    ],
)
def test_a_bonus_is_given_in_the_shops_it_names(changes: dict[str, Any]) -> None:
    assert yen_of(bonus(**changes), base_yen=1_000, shop=GROCER) == 100
    assert yen_of(bonus(**changes), base_yen=1_000, shop=MALL) == 0


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, True),
        ({"on": "charge"}, False),
        ({"first_day": date(2026, 11, 25), "last_day": date(2026, 11, 25)}, True),
        ({"first_day": date(2026, 11, 26)}, False),
        ({"last_day": date(2026, 11, 24)}, False),
        ({"weekdays": frozenset({"wed"})}, True),
        ({"weekdays": frozenset({"tue", "thu"})}, False),
        ({"hours": Hours(start=time(12), end=time(13))}, True),
        ({"hours": Hours(start=time(11), end=time(12))}, False),
        ({"hours": Hours(start=time(22), end=time(12, 30))}, True),
        ({"hours": Hours(start=time(13), end=time(11))}, False),
    ],
)
def test_a_bonus_is_due_in_its_time(changes: dict[str, Any], *, due: bool) -> None:
    assert is_due(bonus(**changes), on="payment", at=NOON) is due


def test_weekdays_are_named_as_the_calendar_has_them() -> None:
    days = [datetime(2026, 11, 23 + n, tzinfo=JST) for n in range(7)]
    for name, day in zip(WEEKDAYS, days, strict=True):
        assert is_due(bonus(weekdays=frozenset({name})), on="payment", at=day)
        assert f"{day:%a}".lower() == name


def test_caps_are_of_the_month_and_of_all_time() -> None:
    assert caps_of(bonus(), date(2026, 11, 25)) == ()
    capped = bonus(month_cap_yen=500, total_cap_yen=2_000)
    assert caps_of(capped, date(2026, 11, 25)) == (("2026-11", 500), ("", 2_000))


class Offer:
    """An offer of so many yen."""

    def __init__(self, one: Bonus, yen: int) -> None:
        self.bonus, self.yen = one, yen


def test_a_bonus_that_comes_to_nothing_does_not_keep_others_out() -> None:
    empty = Offer(bonus("empty", exclusive=True, priority=9), 0)
    plain = Offer(bonus("plain"), 5)
    assert choose([plain, empty], lambda one: one.yen) == [(plain, 5)]


offered = st.lists(
    st.builds(
        Offer,
        st.builds(
            lambda priority, exclusive: bonus(priority=priority, exclusive=exclusive),
            st.integers(-2, 2),
            st.booleans(),
        ),
        st.integers(0, 100),
    ),
    max_size=6,
)


@given(offered)
def test_what_is_given_together_may_be(offers: list[Offer]) -> None:
    chosen = [offer for offer, yen in choose(offers, lambda one: one.yen) if yen == offer.yen]
    assert len(chosen) <= BONUSES_MAX
    assert all(offer.yen > 0 for offer in chosen)
    if any(offer.bonus.exclusive for offer in chosen):
        assert len(chosen) == 1
    priorities = [offer.bonus.priority for offer in chosen]
    assert priorities == sorted(priorities, reverse=True)
    giving = [offer.bonus.priority for offer in offers if offer.yen > 0]
    assert priorities[:1] == ([max(giving)] if giving else [])


amounts = st.integers(1, 1_000_000)
forms = st.one_of(
    st.builds(lambda percent: {"percent": percent}, st.integers(1, 100)),
    st.builds(
        lambda yen, bonus_yen: {"percent": 0, "every": Every(yen=yen, bonus_yen=bonus_yen)},
        st.integers(1, 1_000),
        st.integers(1, 1_000),
    ),
    st.builds(
        lambda bands: {
            "percent": 0,
            "bands": tuple(Band(from_yen=yen, bonus_yen=gives) for yen, gives in bands.items()),
        },
        st.dictionaries(st.integers(0, 10**6), st.integers(0, 10**4), min_size=1, max_size=4),
    ),
    st.builds(
        lambda *sizes: {
            "percent": 0,
            "percent_by_size": BySize(small=sizes[0], chain=sizes[1], large=sizes[2]),
        },
        *[st.integers(0, 100)] * 3,
    ),
)


@given(forms, amounts, amounts, st.sampled_from([GROCER, BRANCH, MALL, None]))
def test_the_bound_is_a_bound(
    form: dict[str, Any], base_yen: int, most_yen: int, shop: Shop | None
) -> None:
    base_yen, most_yen = sorted((base_yen, most_yen))
    made = bonus(**form)
    assert 0 <= yen_of(made, base_yen=base_yen, shop=shop) <= most_of(made, base_yen=most_yen)


def test_a_good_bonus_has_no_problems() -> None:
    sized = bonus("sized", percent=0, percent_by_size=BySize(small=5, chain=2), vests_after_days=7)
    assert problems_of_bonuses([bonus(), sized]) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"percent": 0}, "write one of"),
        ({"every": Every(yen=1, bonus_yen=1)}, "write one of"),
        ({"percent": 101}, "use 0 to 100"),
        ({"percent": 0, "every": Every(yen=0, bonus_yen=1)}, "1 yen or more"),
        ({"percent": 0, "bands": (Band(from_yen=-1, bonus_yen=1),)}, "0 yen or more"),
        ({"percent": 0, "bands": (Band(from_yen=1, bonus_yen=1),) * 2}, "begin at the same yen"),
        ({"percent": 0, "percent_by_size": BySize(small=1), "on": "charge"}, "only a payment"),
        ({"code": "Back"}, "small letters"),
        ({"first_day": date(2026, 2, 1), "last_day": date(2026, 1, 1)}, "is before first_day"),
        ({"hours": Hours(start=time(9), end=time(9))}, "end when they begin"),
        ({"vests_after_days": 400}, "use 0 to 366"),
        ({"total_cap_yen": -1}, "0 yen or more"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], words: str) -> None:
    (problem,) = problems_of_bonuses([bonus(**{"code": "back", **changes})])
    assert words in problem
    assert problem.startswith("bonuses.")


def test_two_bonuses_of_one_code_are_told_apart_by_nobody() -> None:
    assert problems_of_bonuses([bonus(), bonus()]) == ["bonuses: two have the code 'back'."]

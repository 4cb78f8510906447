"""What a programme allows: where, when, and in what order its money is drawn."""

from datetime import date, timedelta
from itertools import permutations
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.moments import japanese
from tests.factories.programmes import ids, programme, purse
from wallet.core.clock import japanese_day
from wallet.programmes.rules import (
    Funding,
    Programme,
    Purse,
    Shop,
    draw,
    in_spending_order,
    refusal_of,
)

DAY = date(2026, 11, 25)
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)


def shop(category: str = "groceries", *, small: bool = True) -> Shop:
    """Return the facts of a shop."""
    return Shop(uuid4(), category, small)


def order(*purses_of: tuple[Programme, Purse]) -> list[Purse]:
    """Return the purses in their spending order, and see that it is theirs whatever came first."""
    programmes = {one.id: one for one, _ in purses_of}
    purses = [one for _, one in purses_of]
    orders = [in_spending_order(mixed, programmes) for mixed in permutations(purses)]
    assert all(one == orders[0] for one in orders)
    return orders[0]


def test_money_without_restrictions_pays_every_shop() -> None:
    for at in (shop(), shop("fuel", small=False)):
        assert refusal_of(programme(), shop=at, day=DAY) is None


def test_money_for_small_shops_pays_no_large_one() -> None:
    only_small = programme(shops="small")
    assert refusal_of(only_small, shop=shop(small=True), day=DAY) is None
    assert refusal_of(only_small, shop=shop(small=False), day=DAY) == "merchant_not_eligible"


def test_money_for_some_categories_pays_no_other() -> None:
    for_books = programme(categories=frozenset({"books", "childcare"}))
    assert refusal_of(for_books, shop=shop("books"), day=DAY) is None
    assert refusal_of(for_books, shop=shop("liquor"), day=DAY) == "merchant_not_eligible"


def test_money_pays_no_excluded_category() -> None:
    no_tobacco = programme(excluded_categories=frozenset({"tobacco"}))
    assert refusal_of(no_tobacco, shop=shop("groceries"), day=DAY) is None
    assert refusal_of(no_tobacco, shop=shop("tobacco"), day=DAY) == "merchant_not_eligible"


def test_money_for_named_shops_pays_no_neighbour() -> None:
    named = shop()
    for_named = programme(shop_ids=frozenset({named.id}))
    assert refusal_of(for_named, shop=named, day=DAY) is None
    assert refusal_of(for_named, shop=shop(), day=DAY) == "merchant_not_eligible"


def test_every_restriction_must_be_met_at_once() -> None:
    named = Shop(uuid4(), "books", small=False)
    narrow = programme(
        shops="small", categories=frozenset({"books"}), shop_ids=frozenset({named.id})
    )
    assert refusal_of(narrow, shop=named, day=DAY) == "merchant_not_eligible"


@pytest.mark.parametrize(
    ("moment", "refusal"),
    [
        ("2026-10-31T23:59:59.999999", "outside_period"),
        ("2026-11-01T00:00:00", None),
        ("2026-11-30T23:59:59.999999", None),
        ("2026-12-01T00:00:00", "outside_period"),
    ],
)
def test_both_ends_of_the_period_are_whole_japanese_days(moment: str, refusal: str | None) -> None:
    november = programme(first_day=FIRST, last_day=LAST)
    assert refusal_of(november, shop=shop(), day=japanese_day(japanese(moment))) == refusal


def test_the_most_restricted_money_is_spent_first() -> None:
    everywhere = programme(1)
    excluding = programme(2, excluded_categories=frozenset({"tobacco"}))
    small = programme(3, shops="small")
    for_books = programme(4, categories=frozenset({"books"}))
    for_one = programme(5, shop_ids=frozenset({uuid4()}))
    narrow_last = [everywhere, excluding, small, for_books, for_one]
    # What expires first does not matter while restrictions differ.
    purses = [
        (one, purse(one, expires_on=DAY + timedelta(days=n))) for n, one in enumerate(narrow_last)
    ]
    assert order(*purses) == [one for _, one in reversed(purses)]


def test_money_that_expires_first_is_spent_first() -> None:
    older, newer = programme(1), programme(2)
    late, soon = purse(older, expires_on=DAY), purse(newer, expires_on=DAY - timedelta(days=1))
    assert ids(*order((older, late), (newer, soon))) == ids(soon, late)


def test_the_older_programme_is_spent_first_when_both_expire_together() -> None:
    older, newer = programme(1), programme(2)
    first, second = purse(older, funding="premium"), purse(newer, funding="paid")
    assert ids(*order((newer, second), (older, first))) == ids(first, second)


@pytest.mark.parametrize(
    ("premium_first", "fundings"),
    [(False, ["paid", "premium", "free"]), (True, ["premium", "paid", "free"])],
)
def test_paid_money_goes_before_premium_or_the_reverse(
    premium_first: bool,  # noqa: FBT001 - given by name by the parameters above
    fundings: list[str],
) -> None:
    one = programme(premium_first=premium_first)
    purses = order(*[(one, purse(one, funding=funding)) for funding in Funding])
    assert [str(each.funding) for each in purses] == fundings


amounts = st.integers(0, 10_000)


@given(available_yen=st.lists(amounts, max_size=6), amount_yen=amounts)
def test_a_draw_takes_all_it_can_in_order_and_never_more(
    available_yen: list[int], amount_yen: int
) -> None:
    one = programme()
    purses = [(purse(one), yen) for yen in available_yen]
    draws = draw(purses, amount_yen=amount_yen)
    taken_yen = {one.purse.account_id: one.amount_yen for one in draws}
    assert sum(taken_yen.values()) == min(amount_yen, sum(available_yen))
    assert all(yen > 0 for yen in taken_yen.values())
    # Each purse is emptied before the next one is touched.
    left_yen = amount_yen
    for each, yen in purses:
        assert taken_yen.get(each.account_id, 0) == min(yen, left_yen)
        left_yen -= min(yen, left_yen)

"""The rules of refunding, without a database."""

from datetime import date
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories.programmes import programme, purse
from wallet.core.ids import align_id
from wallet.core.refusals import Refusal
from wallet.payments.refund_rules import (
    Leg,
    RefundRequest,
    bonus_to_take,
    check_amount,
    is_over,
    later_day,
    release,
)
from wallet.payments.rules import CARD, COUPON_NUMBER, LEGS_MAX, PAPER
from wallet.programmes.rules import draw
from wallet.programmes.terms import Refunds

DAY = date(2027, 3, 31)


@st.composite
def payments(choose: st.DrawFn) -> list[Leg]:
    """Return a payment as it was drawn: purses in their order, and perhaps a coupon before them."""
    amounts = choose(st.lists(st.integers(1, 500), min_size=1, max_size=LEGS_MAX))
    purses = [(purse(programme()), yen) for yen in amounts]
    price_yen = choose(st.integers(1, sum(amounts)))
    drawn = draw(purses, amount_yen=price_yen)
    legs = [Leg(n, one.purse.account_id, one.amount_yen) for n, one in enumerate(drawn, 1)]
    if choose(st.booleans()):
        legs.append(Leg(COUPON_NUMBER, uuid4(), choose(st.integers(1, 300))))
    return legs


def after(legs: list[Leg], amount_yen: int) -> list[Leg]:
    """Return a payment of which so much more has come back."""
    given_yen = {
        share.leg.number: share.amount_yen for share in release(legs, amount_yen=amount_yen)
    }
    return [
        replace(leg, refunded_yen=leg.refunded_yen + given_yen.get(leg.number, 0)) for leg in legs
    ]


def in_drawing_order(legs: list[Leg]) -> list[Leg]:
    """Return what a payment was drawn from, first the coupon."""
    return sorted(legs, key=lambda leg: 0 if leg.number == COUPON_NUMBER else leg.number)


@given(payments(), st.data())
def test_money_comes_back_in_the_reverse_of_the_order_it_was_drawn_in(
    legs: list[Leg], data: st.DataObject
) -> None:
    order = in_drawing_order(legs)
    drawn_yen = [leg.account_id for leg in order for _ in range(leg.amount_yen)]
    returned_yen: list[UUID] = []
    while left_yen := sum(leg.left_yen for leg in legs):
        amount_yen = data.draw(st.integers(1, left_yen))
        shares = release(legs, amount_yen=amount_yen)
        assert sum(share.amount_yen for share in shares) == amount_yen
        returned_yen += [share.leg.account_id for share in shares for _ in range(share.amount_yen)]
        legs = after(legs, amount_yen)
        assert all(0 <= leg.refunded_yen <= leg.amount_yen for leg in legs)
    assert returned_yen == drawn_yen[::-1]


@given(payments(), st.data())
def test_many_small_refunds_give_back_what_one_large_one_does(
    legs: list[Leg], data: st.DataObject
) -> None:
    total_yen = sum(leg.amount_yen for leg in legs)
    first_yen = data.draw(st.integers(1, total_yen))
    second_yen = data.draw(st.integers(0, total_yen - first_yen))
    at_once = after(legs, first_yen + second_yen)
    in_turn = after(after(legs, first_yen), second_yen) if second_yen else after(legs, first_yen)
    assert at_once == in_turn


@given(st.integers(0, 1_000), st.integers(1, 10_000), st.data())
def test_a_bonus_is_taken_back_in_proportion_and_whole_in_the_end(
    bonus_yen: int, amount_yen: int, data: st.DataObject
) -> None:
    taken_yen, left_yen = 0, amount_yen
    while left_yen:
        left_yen -= data.draw(st.integers(1, left_yen))
        taken_yen += bonus_to_take(
            bonus_yen=bonus_yen, taken_yen=taken_yen, amount_yen=amount_yen, left_yen=left_yen
        )
        assert bonus_yen - taken_yen == bonus_yen * left_yen // amount_yen
    assert taken_yen == bonus_yen


def test_what_was_spent_of_a_bonus_is_asked_for_again_and_no_more() -> None:
    assert bonus_to_take(bonus_yen=100, taken_yen=30, amount_yen=1_000, left_yen=500) == 20
    assert bonus_to_take(bonus_yen=100, taken_yen=80, amount_yen=1_000, left_yen=500) == 0


@pytest.mark.parametrize(
    ("amount_yen", "refunded_yen", "instrument", "outcome"),
    [
        (None, 0, CARD, 1_000),
        (None, 300, CARD, 700),
        (700, 300, CARD, 700),
        (701, 300, CARD, Refusal("refund_exceeds_payment", {"left_yen": 700})),
        (1, 1_000, CARD, Refusal("payment_refunded")),
        (None, 0, PAPER, Refusal("refund_of_paper")),
    ],
)
def test_no_more_comes_back_than_is_left(
    amount_yen: int | None, refunded_yen: int, instrument: str, outcome: int | Refusal
) -> None:
    legs = [Leg(1, uuid4(), 1_000, refunded_yen)]
    assert check_amount(amount_yen, legs, instrument=instrument) == outcome


@pytest.mark.parametrize(("last_day", "over"), [(DAY, False), (date(2027, 3, 30), True)])
def test_a_purse_is_over_from_the_day_after_its_last_one(last_day: date, *, over: bool) -> None:
    assert is_over(purse(programme(), expires_on=last_day), day=DAY) is over


def test_money_that_comes_back_late_is_good_for_the_days_its_programme_says() -> None:
    assert later_day(Refunds(to_expired="extend_days", extend_days=14), day=DAY) == date(
        2027, 4, 14
    )
    assert later_day(Refunds(to_expired="budget"), day=DAY) is None


@pytest.mark.parametrize("amount_yen", [0, -1])
def test_an_amount_that_is_none_is_a_fault_of_the_caller(amount_yen: int) -> None:
    with pytest.raises(ValueError, match="cannot be given back"):
        make(align_id(uuid4()), amount_yen)


def test_an_id_without_room_for_transfers_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="align_id"):
        make(UUID(int=1), 100)


def make(refund_id: UUID, amount_yen: int) -> RefundRequest:
    """Return a request."""
    return RefundRequest(
        refund_id=refund_id,
        merchant_id=uuid4(),
        merchant_refund_id="r",
        payment_id=uuid4(),
        amount_yen=amount_yen,
    )

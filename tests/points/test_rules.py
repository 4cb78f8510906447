"""The pure part of points: whatever is asked for, ceilings hold and yen are conserved."""

from datetime import date, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.core.refusals import Refusal
from wallet.people.rules import TierLimits
from wallet.points.rules import (
    EXCHANGE_LEGS_MAX,
    FIRST_CARD_CHARGE_MAX_YEN,
    GIFT_MONTH_MAX_YEN,
    GIFT_TRANSFER_MAX_YEN,
    LEGS_MAX,
    STEPS_MAX,
    ChargeCase,
    GiftCase,
    Rung,
    check_charge,
    check_gift,
    check_ladder,
    check_room,
    earned_yen,
    plan_exchange,
    plan_gift,
    swap_of,
)
from wallet.programmes.rules import Purse
from wallet.programmes.terms import Caps, Exchange, Gifts

TODAY = date(2026, 11, 25)
PROGRAMME = uuid4()

yen = st.integers(0, 500_000)
amounts = st.integers(1, 500_000)
purses = st.lists(
    st.tuples(
        st.sampled_from(["paid", "premium", "free"]),
        st.integers(-40, 400).map(lambda days: TODAY + timedelta(days=days)),
        st.integers(0, 5_000),
    ).map(lambda one: (Purse(uuid4(), PROGRAMME, one[0], one[1]), one[2])),
    max_size=12,
)
ceilings = st.one_of(st.none(), amounts)


def limits(*, gift_day_yen: int = 0, balance_yen: int = 0) -> TierLimits:
    """Return a tier of which only one ceiling is looked at."""
    return TierLimits(payment_yen=0, day_yen=0, balance_yen=balance_yen, gift_day_yen=gift_day_yen)


@pytest.mark.attack(15)
@given(purses=purses, amount_yen=amounts)
def test_a_gift_is_whole_paid_in_time_and_lasts_longest(
    purses: list[tuple[Purse, int]], amount_yen: int
) -> None:
    planned = plan_gift(purses, amount_yen=amount_yen, day=TODAY)
    good = sorted(
        (
            p.expires_on
            for p, left in purses
            if p.funding == "paid" and left > 0 and p.expires_on >= TODAY
        ),
        reverse=True,
    )
    if isinstance(planned, Refusal):
        assert planned.code == "balance_insufficient"
        assert planned.facts["available_yen"] == amount_yen - planned.facts["missing_yen"]
        return
    available = {purse.account_id: left for purse, left in purses}
    assert sum(draw.amount_yen for draw in planned) == amount_yen
    assert all(0 < draw.amount_yen <= available[draw.purse.account_id] for draw in planned)
    assert all(draw.purse.funding == "paid" for draw in planned)
    assert [draw.purse.expires_on for draw in planned] == good[: len(planned)]
    assert all(draw.amount_yen == available[draw.purse.account_id] for draw in planned[:-1])
    assert len(planned) <= LEGS_MAX


@given(purses=purses, amount_yen=amounts)
def test_an_exchange_takes_free_money_that_expires_first(
    purses: list[tuple[Purse, int]], amount_yen: int
) -> None:
    planned = plan_exchange(purses, amount_yen=amount_yen, day=TODAY)
    if isinstance(planned, Refusal):
        return
    days = [draw.purse.expires_on for draw in planned]
    assert days == sorted(days)
    assert min(days) >= TODAY
    assert {draw.purse.funding for draw in planned} == {"free"}
    assert sum(draw.amount_yen for draw in planned) == amount_yen
    assert len(planned) <= EXCHANGE_LEGS_MAX


@given(
    day_yen=yen,
    gifts=st.builds(Gifts, transfer_max_yen=ceilings, month_max_yen=ceilings),
    given_day_yen=yen,
    more_yen=yen,
    of_others_yen=yen,
    amount_yen=amounts,
)
def test_no_gift_passes_a_ceiling_and_none_is_refused_within_all(
    *,
    day_yen: int,
    gifts: Gifts,
    given_day_yen: int,
    more_yen: int,
    of_others_yen: int,
    amount_yen: int,
) -> None:
    programme_yen = given_day_yen + more_yen
    case = GiftCase(
        tier=limits(gift_day_yen=day_yen),
        gifts=gifts,
        given_day_yen=given_day_yen,
        given_month_yen=programme_yen + of_others_yen,
        given_month_programme_yen=programme_yen,
    )
    fits = (
        amount_yen <= GIFT_TRANSFER_MAX_YEN
        and (gifts.transfer_max_yen is None or amount_yen <= gifts.transfer_max_yen)
        and given_day_yen + amount_yen <= day_yen
        and case.given_month_yen + amount_yen <= GIFT_MONTH_MAX_YEN
        and (gifts.month_max_yen is None or programme_yen + amount_yen <= gifts.month_max_yen)
    )
    refusal = check_gift(case, amount_yen=amount_yen)
    assert (refusal is None) == fits
    if refusal is not None and "left_yen" in refusal.facts:
        left_yen = refusal.facts["left_yen"]
        assert 0 <= left_yen < amount_yen


@given(times=st.integers(1, 50), per=st.integers(1, 50), offered_yen=amounts)
def test_an_exchange_floors_and_takes_the_least_that_brings_as_much(
    times: int, per: int, offered_yen: int
) -> None:
    rate = Exchange(to="other", times=times, per=per)
    swap = swap_of(rate, offered_yen=offered_yen)
    if swap is None:
        assert offered_yen * times < per
        return
    assert swap.received_yen == offered_yen * times // per
    assert 0 < swap.given_yen <= offered_yen
    assert swap.given_yen * times // per == swap.received_yen
    assert (swap.given_yen - 1) * times // per < swap.received_yen
    assert swap.received_yen * per <= swap.given_yen * times


@given(amount_yen=amounts, held_yen=yen, of_programme_yen=yen, tier_yen=yen, cap_yen=ceilings)
def test_a_wallet_is_never_filled_beyond_its_ceilings(
    *,
    amount_yen: int,
    held_yen: int,
    of_programme_yen: int,
    tier_yen: int,
    cap_yen: int | None,
) -> None:
    refusal = check_room(
        amount_yen=amount_yen,
        held_yen=held_yen + of_programme_yen,
        held_programme_yen=of_programme_yen,
        tier=limits(balance_yen=tier_yen),
        caps=Caps(balance_yen=cap_yen),
    )
    fits = held_yen + of_programme_yen + amount_yen <= tier_yen and (
        cap_yen is None or of_programme_yen + amount_yen <= cap_yen
    )
    assert (refusal is None) == fits


@given(amount_yen=amounts, waiting_yen=yen, has_charged=st.booleans(), by_card=st.booleans())
def test_only_first_charges_by_card_are_small(
    *, amount_yen: int, waiting_yen: int, has_charged: bool, by_card: bool
) -> None:
    case = ChargeCase(
        tier=limits(balance_yen=10_000_000),
        caps=Caps(),
        by_card=by_card,
        held_yen=waiting_yen,
        held_programme_yen=waiting_yen,
        waiting_card_yen=waiting_yen,
        has_charged_by_card=has_charged,
    )
    refusal = check_charge(case, amount_yen=amount_yen)
    is_small = waiting_yen + amount_yen <= FIRST_CARD_CHARGE_MAX_YEN
    assert (refusal is None) == (not by_card or has_charged or is_small)


@given(st.lists(st.integers(0, STEPS_MAX), min_size=1, max_size=20))
def test_a_day_of_counts_earns_what_its_last_count_does(counts: list[int]) -> None:
    ladder = [Rung(4_000, 2), Rung(7_000, 5), Rung(50_000, 20)]
    earned = granted = 0
    for steps in sorted(counts):
        granted += earned_yen(ladder, steps=steps) - earned
        earned = earned_yen(ladder, steps=steps)
    assert granted == earned_yen(ladder, steps=max(counts))


@pytest.mark.parametrize(
    "ladder",
    [
        [],
        [Rung(0, 1)],
        [Rung(1, 0)],
        [Rung(STEPS_MAX + 1, 1)],
        [Rung(5_000, 2), Rung(5_000, 3)],
        [Rung(5_000, 2), Rung(6_000, 2)],
        [Rung(number, number) for number in range(1, 12)],
    ],
    ids=["empty", "no steps", "no yen", "too far", "no further", "for nothing", "too long"],
)
def test_a_ladder_that_does_not_rise_is_none(ladder: list[Rung]) -> None:
    assert check_ladder(ladder) == Refusal("step_ladder_invalid")


def test_a_ladder_that_rises_is_one() -> None:
    assert check_ladder([Rung(1, 1), Rung(STEPS_MAX, 2)]) is None

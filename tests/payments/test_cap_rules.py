"""What a programme's caps leave of a payment, without a database."""

from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.programmes import programme, purse, spending
from wallet.core.refusals import Refusal
from wallet.payments.rules import Cap, cap_of, plan
from wallet.programmes.rules import Programme, Shop
from wallet.programmes.terms import Caps

DAY = spending().first_day
SHOP = Shop(UUID(int=1), "groceries", small=True)


def capped(number: int, caps: Caps) -> Programme:
    """Return a programme in memory with caps."""
    one = programme(number)
    return msgspec.structs.replace(one, terms=msgspec.structs.replace(one.terms, caps=caps))


_YEN = st.integers(1, 2_000)


@given(st.none() | _YEN, st.none() | _YEN, st.integers(0, 2_000), _YEN, _YEN, _YEN)
def test_no_plan_goes_beyond_a_cap_and_none_is_refused_that_fits(
    payment_yen: int | None,
    day_yen: int | None,
    spent_yen: int,
    first_yen: int,
    second_yen: int,
    amount_yen: int,
) -> None:
    caps = Caps(payment_yen=payment_yen, day_yen=day_yen)
    one, other = capped(1, caps), capped(2, Caps())
    has_cap = payment_yen is not None or day_yen is not None
    left = {one.id: cap_of(caps, spent_yen=spent_yen)} if has_cap else {}
    most_yen = min(first_yen, left[one.id].left_yen) if has_cap else first_yen
    planned = plan(
        [(purse(one), first_yen), (purse(other), second_yen)],
        {one.id: one, other.id: other},
        shop=SHOP,
        day=DAY,
        amount_yen=amount_yen,
        caps=left,
    )
    if amount_yen > most_yen + second_yen:
        assert isinstance(planned, Refusal)
        expected = "balance_insufficient" if amount_yen > first_yen + second_yen else "limit_"
        assert planned.code.startswith(expected)
        return
    assert not isinstance(planned, Refusal)
    drawn_yen = {draw.purse.programme_id: draw.amount_yen for draw in planned}
    assert drawn_yen.get(one.id, 0) <= most_yen
    assert sum(drawn_yen.values()) == amount_yen


def test_the_cap_that_leaves_least_is_the_one_that_counts() -> None:
    both = Caps(payment_yen=300, day_yen=500)
    assert cap_of(both, spent_yen=100) == Cap(300, 300, by_day=False)
    assert cap_of(both, spent_yen=300) == Cap(200, 500, by_day=True)
    assert cap_of(both, spent_yen=600) == Cap(0, 500, by_day=True)

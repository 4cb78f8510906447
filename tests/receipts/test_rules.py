"""Numbers, times and what money is for, without a database."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.receipts.rules import (
    REFERENCE_DIGITS,
    Arrival,
    Method,
    Order,
    Share,
    check_digit,
    fill,
    is_reference,
    match,
    reference_of,
    times_of,
)

MINUTE_US = 60_000_000


def order(state: str = "waiting", method: str = "card") -> Order:
    """Return an order of 5,000 yen."""
    programme_id = uuid4()
    return Order(
        id=uuid4(),
        purpose="voucher",
        reference_id=uuid4(),
        amount_yen=5_000,
        shares=(Share(programme_id, 5_000),),
        method=method,
        state=state,
    )


def arrival(amount_yen: int = 5_000, provider: str = "card", *, by_3ds: bool = True) -> Arrival:
    """Return money that arrives."""
    return Arrival(provider=provider, amount_yen=amount_yen, authenticated=by_3ds)


def test_the_check_digit_is_that_of_the_standards_example() -> None:
    assert check_digit("7992739871") == "3"


@given(st.integers(0, 2**64))
def test_a_reference_is_one_and_one_wrong_digit_is_none(number: int) -> None:
    reference = reference_of(number)
    assert len(reference) == REFERENCE_DIGITS
    assert is_reference(reference)
    for place, digit in enumerate(reference):
        other = str((int(digit) + 1) % 10)
        assert not is_reference(reference[:place] + other + reference[place + 1 :])


@pytest.mark.parametrize("text", ["", "1", "a" * REFERENCE_DIGITS, "0" * 17, "０" * 18])
def test_what_is_no_number_of_ours_is_no_reference(text: str) -> None:
    assert not is_reference(text)


def test_the_exact_amount_pays_the_order() -> None:
    found = match(order(), arrival())
    assert (found.matched_yen, found.suspended_yen, found.because) == (5_000, 0, None)


def test_of_too_much_the_rest_is_suspended() -> None:
    found = match(order(), arrival(5_001))
    assert (found.matched_yen, found.suspended_yen, found.because) == (5_000, 1, "over")


@pytest.mark.parametrize(
    ("of", "by", "because"),
    [
        (None, arrival(), "unknown"),
        (order(method="bank"), arrival(), "unknown"),
        (order("paid"), arrival(), "paid_before"),
        (order("expired"), arrival(), "order_over"),
        (order("cancelled"), arrival(), "order_over"),
        (order(), arrival(4_999), "under"),
        (order(), arrival(by_3ds=False), "unauthenticated"),
    ],
)
def test_whatever_else_arrives_is_suspended_as_a_whole(
    of: Order | None, by: Arrival, because: str
) -> None:
    found = match(of, by)
    assert (found.matched_yen, found.suspended_yen) == (0, by.amount_yen)
    assert found.because == because


def test_only_cards_are_asked_for_3d_secure() -> None:
    cash = match(order(method="convenience"), arrival(provider="convenience", by_3ds=False))
    assert cash.because is None


@given(
    state=st.one_of(st.none(), st.sampled_from(["waiting", "paid", "expired", "cancelled"])),
    amount_yen=st.integers(1, 20_000),
    by_3ds=st.booleans(),
    provider=st.sampled_from(list(Method)),
)
def test_no_yen_is_lost_or_made(
    *, state: str | None, amount_yen: int, by_3ds: bool, provider: str
) -> None:
    by = arrival(amount_yen, provider, by_3ds=by_3ds)
    found = match(None if state is None else order(state), by)
    assert found.matched_yen + found.suspended_yen == amount_yen
    assert found.matched_yen in {0, 5_000}
    assert (found.because is None) == (found.suspended_yen == 0)


def test_a_card_is_asked_for_half_an_hour_and_a_store_until_the_deadline() -> None:
    deadline_us = 10_000 * MINUTE_US
    card = times_of(Method.CARD, now_us=0, deadline_us=deadline_us)
    assert card == (30 * MINUTE_US, 45 * MINUTE_US)
    store = times_of(Method.CONVENIENCE, now_us=0, deadline_us=deadline_us)
    assert store == (deadline_us, deadline_us + 120 * MINUTE_US)
    late = times_of(Method.CARD, now_us=deadline_us - MINUTE_US, deadline_us=deadline_us)
    assert late[0] == deadline_us


@given(st.data())
def test_amounts_fill_the_shares_to_the_yen(data: st.DataObject) -> None:
    shares = [Share(uuid4(), yen) for yen in data.draw(st.lists(st.integers(1, 99), min_size=1))]
    total_yen = sum(share.amount_yen for share in shares)
    amounts, left_yen = [], total_yen
    while left_yen:
        amounts.append(data.draw(st.integers(1, left_yen)))
        left_yen -= amounts[-1]
    filled = fill(amounts, shares)
    assert [sum(piece.amount_yen for piece in pieces) for pieces in filled] == amounts
    for share in shares:
        got = [
            p.amount_yen
            for pieces in filled
            for p in pieces
            if p.programme_id == share.programme_id
        ]
        assert sum(got) == share.amount_yen

"""The pure part of issuing: portions, quotas, the period, ids."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.programmes import YEAR, frame, programme
from tests.factories.vouchers import make_request
from wallet.core.ids import align_id, numbered_id
from wallet.core.refusals import Refusal
from wallet.programmes.rules import Programme
from wallet.vouchers.rules import (
    PORTIONS_MAX,
    IssueRequest,
    check_period,
    check_quotas,
    portions_of,
)

VOUCHER = programme(frame=frame())
COIN = programme()


def booked(of: Programme, *, sets: int = 0, amount_yen: int = 0) -> list[tuple[str, str, int]]:
    """Return the portions of a request as plain words and yen."""
    portions = portions_of(make_request(uuid4(), sets=sets, amount_yen=amount_yen), of)
    assert isinstance(portions, list), portions
    return [(str(p.funding), str(p.source), p.amount_yen) for p in portions]


def refused(of: Programme, *, sets: int = 0, amount_yen: int = 0) -> str:
    """Return why a request is not made of portions."""
    refusal = portions_of(make_request(uuid4(), sets=sets, amount_yen=amount_yen), of)
    assert isinstance(refusal, Refusal), refusal
    return refusal.code


def test_a_set_is_its_price_from_clearing_and_its_premium_from_the_budget() -> None:
    assert booked(VOUCHER, sets=3) == [
        ("paid", "clearing", 15_000),
        ("premium", "budget", 3_750),
    ]


def test_a_set_without_premium_takes_nothing_from_the_budget() -> None:
    plain = programme(frame=frame(face_yen=5_000))
    assert booked(plain, sets=2) == [("paid", "clearing", 10_000)]


def test_free_money_comes_from_the_budget_alone() -> None:
    assert booked(COIN, amount_yen=500) == [("free", "budget", 500)]


def test_sets_and_yen_are_never_taken_for_each_other() -> None:
    assert refused(VOUCHER) == refused(VOUCHER, amount_yen=5_000) == "issue_sets_expected"
    assert refused(VOUCHER, sets=1, amount_yen=5_000) == "issue_sets_expected"
    assert refused(VOUCHER, sets=-1) == "issue_sets_expected"
    assert refused(COIN) == refused(COIN, sets=1) == "issue_amount_expected"
    assert refused(COIN, amount_yen=-1) == "issue_amount_expected"


def test_the_last_day_still_issues_and_the_day_after_does_not() -> None:
    last_day = YEAR["last_day"]
    assert check_period(VOUCHER, day=last_day) is None
    refusal = check_period(VOUCHER, day=last_day + timedelta(days=1))
    assert refusal == Refusal("outside_period", {"last_day": last_day})


def test_a_voucher_may_be_bought_before_it_may_be_spent() -> None:
    assert check_period(VOUCHER, day=YEAR["first_day"] - timedelta(days=30)) is None


@given(
    sets=st.integers(1, 12),
    wallet_sets=st.integers(0, 12),
    programme_sets=st.integers(0, 110),
)
def test_quotas_leave_exactly_what_is_left(
    sets: int, wallet_sets: int, programme_sets: int
) -> None:
    refusal = check_quotas(
        VOUCHER, sets=sets, wallet_sets=wallet_sets, programme_sets=programme_sets
    )
    if wallet_sets + sets > 10:
        facts = {"sets_per_person": 10, "left_sets": max(0, 10 - wallet_sets)}
        assert refusal == Refusal("sets_per_person_exceeded", facts)
    elif programme_sets + sets > 100:
        assert refusal == Refusal("sets_sold_out", {"left_sets": max(0, 100 - programme_sets)})
    else:
        assert refusal is None


@given(first=st.uuids(), second=st.uuids())
def test_the_transfers_of_two_issues_never_share_an_id(first: UUID, second: UUID) -> None:
    issues = {align_id(first), align_id(second)}
    ids = {numbered_id(issue, n) for issue in issues for n in range(1, PORTIONS_MAX + 1)}
    assert len(ids) == len(issues) * PORTIONS_MAX
    assert not ids & issues


def test_an_id_without_room_for_its_transfers_is_no_issue_id() -> None:
    crooked = UUID(int=align_id(uuid4()).int + 1)
    with pytest.raises(ValueError, match="align_id"):
        IssueRequest(issue_id=crooked, wallet_id=uuid4(), programme="coin", amount_yen=1)

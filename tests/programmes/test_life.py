"""The life of a programme: what may follow what, and what may never be taken back."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.programmes import YEAR, frame, spending, voucher_draft
from wallet.programmes.life import DRAFT_STEPS, DraftState, State, state_on, what_falls
from wallet.programmes.rules import Part
from wallet.programmes.terms import Caps, Eligibility, Expiry, Gifts, Refunds, Terms

OLD = msgspec.structs.replace(
    voucher_draft().terms,
    caps=Caps(payment_yen=10_000),
    gifts=Gifts(allowed=True, transfer_max_yen=1_000),
    eligibility=Eligibility(min_age=18, max_age=90),
    expiry=Expiry(rule="months_after_issue", months=6),
    refunds=Refunds(to_expired="extend_days", extend_days=30),
)
SHOP = UUID(int=1)


def changed(**fields: object) -> Terms:
    """Return the old terms with other fields."""
    return msgspec.structs.replace(OLD, **fields)


def spent(**fields: Any) -> Terms:  # noqa: ANN401 - fields of many types
    """Return the old terms with other rules of spending."""
    return changed(spending=spending(**fields))


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (changed(issuer_kind="company"), "issuer_kind:"),
        (changed(kind="coin"), "kind:"),
        (changed(frame=None), "frame:"),
        (changed(frame=frame(price_yen=4_999)), "frame.price_yen:"),
        (changed(frame=frame(face_yen=6_251)), "frame.face_yen:"),
        (
            changed(frame=frame(parts=(Part(programme="a", paid_yen=5_000, premium_yen=1_250),))),
            "frame.parts:",
        ),
        (changed(frame=frame(sets_total=99)), "frame.sets_total:"),
        (changed(frame=frame(sets_per_person=9)), "frame.sets_per_person:"),
        (changed(caps=Caps(payment_yen=9_999)), "caps.payment_yen:"),
        (changed(caps=Caps(payment_yen=10_000, day_yen=1)), "caps.day_yen:"),
        (changed(caps=Caps(payment_yen=10_000, balance_yen=1)), "caps.balance_yen:"),
        (changed(gifts=Gifts()), "gifts.allowed:"),
        (changed(gifts=Gifts(allowed=True, transfer_max_yen=999)), "gifts.transfer_max_yen:"),
        (
            changed(gifts=Gifts(allowed=True, transfer_max_yen=1_000, month_max_yen=9)),
            "gifts.month_max_yen:",
        ),
        (spent(first_day=date(2026, 1, 2)), "spending.first_day:"),
        (spent(last_day=date(2027, 3, 30)), "spending.last_day:"),
        (spent(shops="small"), "spending.shops:"),
        (spent(categories=frozenset({"cafe"})), "spending.categories:"),
        (spent(excluded_categories=frozenset({"cafe"})), "spending.excluded_categories:"),
        (spent(shop_ids=frozenset({SHOP})), "spending.shop_ids:"),
        (changed(eligibility=Eligibility(resident=True)), "eligibility.resident:"),
        (changed(eligibility=Eligibility(min_age=19)), "eligibility.min_age:"),
        (changed(eligibility=Eligibility(max_age=89)), "eligibility.max_age:"),
        (changed(eligibility=Eligibility(children_min=1)), "eligibility.children_min:"),
        (changed(eligibility=Eligibility(list="roster")), "eligibility.list:"),
        (changed(expiry=Expiry(rule="fiscal_year")), "expiry.rule:"),
        (changed(expiry=Expiry(rule="months_after_issue", months=5)), "expiry:"),
        (
            changed(expiry=Expiry(rule="months_after_issue", months=6, month_end=False)),
            "expiry:",
        ),
        (changed(refunds=Refunds(to_expired="budget")), "refunds.to_expired:"),
        (changed(refunds=Refunds(to_expired="extend_days", extend_days=29)), "refunds.extend"),
    ],
)
def test_what_people_count_on_is_not_taken_away(new: Terms, field: str) -> None:
    (told,) = what_falls(OLD, new)
    assert told.startswith(field)
    assert told.endswith(".")


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        changed(name="新しい名前"),
        changed(frame=frame(sets_total=101, sets_per_person=11)),
        changed(caps=Caps()),
        changed(gifts=Gifts(allowed=True)),
        changed(eligibility=Eligibility()),
        changed(expiry=Expiry()),
        changed(expiry=Expiry(rule="months_after_issue", months=7)),
        changed(refunds=Refunds(to_expired="extend_days", extend_days=31)),
        spent(last_day=date(2027, 6, 30), first_day=date(2025, 12, 31)),
    ],
)
def test_what_is_given_may_be_more(new: Terms) -> None:
    assert what_falls(OLD, new) == []


def test_a_list_of_shops_or_categories_may_grow_and_be_lifted() -> None:
    few = spent(categories=frozenset({"cafe"}), excluded_categories=frozenset({"adult", "books"}))
    more = spent(categories=frozenset({"cafe", "bakery"}), excluded_categories=frozenset({"adult"}))
    assert what_falls(few, more) == []
    assert what_falls(few, OLD) == []
    assert len(what_falls(more, few)) == 2


_LIMITS = st.none() | st.integers(1, 100)


@given(_LIMITS, _LIMITS, _LIMITS)
def test_two_rises_are_a_rise(first: int | None, second: int | None, third: int | None) -> None:
    def may_follow(old: int | None, new: int | None) -> bool:
        before, after = changed(caps=Caps(day_yen=old)), changed(caps=Caps(day_yen=new))
        return what_falls(before, after) == []

    if may_follow(first, second) and may_follow(second, third):
        assert may_follow(first, third)


@pytest.mark.parametrize(
    ("state", "day", "expected"),
    [
        (State.SCHEDULED, date(2026, 3, 31), State.SCHEDULED),
        (State.SCHEDULED, date(2026, 4, 1), State.LIVE),
        (State.LIVE, date(2027, 3, 31), State.LIVE),
        (State.LIVE, date(2027, 4, 1), State.ENDED),
        (State.ENDED, date(2027, 3, 31), State.LIVE),
        (State.SETTLED, date(2027, 3, 31), State.SETTLED),
    ],
)
def test_the_calendar_moves_a_programme_on(state: State, day: date, expected: State) -> None:
    last_day = YEAR["last_day"]
    assert state_on(state, live_on=date(2026, 4, 1), last_day=last_day, day=day) is expected


@given(st.dates(date(2026, 1, 1), date(2028, 1, 1)))
def test_days_never_bring_a_programme_back(day: date) -> None:
    order = list(State)
    days = {"live_on": date(2026, 4, 1), "last_day": YEAR["last_day"]}
    today = state_on(State.SCHEDULED, day=day, **days)
    tomorrow = state_on(today, day=day + timedelta(days=1), **days)
    assert order.index(today) <= order.index(tomorrow)


def test_nothing_follows_what_was_withdrawn_and_only_review_leads_to_approval() -> None:
    assert DRAFT_STEPS[DraftState.WITHDRAWN] == frozenset()
    before_approval = {s for s, after in DRAFT_STEPS.items() if DraftState.APPROVED in after}
    assert before_approval == {DraftState.REVIEW}
    assert set(DRAFT_STEPS) == set(DraftState)

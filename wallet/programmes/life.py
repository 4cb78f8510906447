"""The life of a programme: the states of its drafts and its own, and what may never be taken back.

A draft is written, reviewed, approved by two, and scheduled. What was approved becomes a programme
or its next version; it goes live and ends by the calendar. Pure.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from wallet.programmes.rules import Spending
from wallet.programmes.terms import Eligibility, Expiry, Refunds, Terms


class DraftState(StrEnum):
    """Where a draft is on its way; withdrawn is also what a newer revision has replaced."""

    DRAFT = "draft"
    REVIEW = "review"
    APPROVED = "approved"
    WITHDRAWN = "withdrawn"


DRAFT_STEPS: Final[Mapping[DraftState, frozenset[DraftState]]] = MappingProxyType(
    {
        DraftState.DRAFT: frozenset({DraftState.REVIEW, DraftState.WITHDRAWN}),
        DraftState.REVIEW: frozenset({DraftState.APPROVED, DraftState.WITHDRAWN}),
        DraftState.APPROVED: frozenset({DraftState.WITHDRAWN}),
        DraftState.WITHDRAWN: frozenset(),
    }
)
"""Which state may follow which; what the worker has made terms of is never withdrawn."""


class State(StrEnum):
    """Where a programme is. Suspended is none of these: it is a stop that lies over any of them."""

    SCHEDULED = "scheduled"
    LIVE = "live"
    ENDED = "ended"
    SETTLED = "settled"


def state_on(state: State, *, live_on: date | None, last_day: date, day: date) -> State:
    """Return the state on a Japanese day, of a programme that was in ``state`` before.

    A programme whose last day has been moved into the future is live again; one that is settled
    stays so.
    """
    if state is State.SETTLED:
        return state
    if live_on is not None and day < live_on:
        return State.SCHEDULED
    return State.ENDED if day > last_day else State.LIVE


def what_falls(old: Terms, new: Terms) -> list[str]:
    """Return what of live terms the new ones would take away, a sentence for each.

    People have applied, bought and planned by the old ones: limits may rise and never fall, days
    may be added and never taken, and what the money is and costs stays.
    """
    return [
        *_changed(old, new),
        *_lower(old, new),
        *_narrower(old.spending, new.spending),
        *_stricter(old.eligibility, new.eligibility),
        *_shorter(old.expiry, new.expiry),
        *_meaner(old.refunds, new.refunds),
    ]


def _changed(old: Terms, new: Terms) -> Iterator[str]:
    for field in ("issuer_kind", "kind", "unit"):
        if getattr(old, field) != getattr(new, field):
            yield f"{field}: stays {getattr(old, field)} while the programme is live."
    if (old.frame is None) != (new.frame is None):
        yield "frame: is neither added nor removed while the programme is live."
    if old.frame is not None and new.frame is not None:
        for field in ("price_yen", "face_yen", "parts"):
            if getattr(old.frame, field) != getattr(new.frame, field):
                yield f"frame.{field}: stays as it is while the programme is live."


def _lower(old: Terms, new: Terms) -> Iterator[str]:
    """None is no limit at all, and so the highest."""
    limits: dict[str, tuple[int | None, int | None]] = {
        "caps.payment_yen": (old.caps.payment_yen, new.caps.payment_yen),
        "caps.day_yen": (old.caps.day_yen, new.caps.day_yen),
        "caps.balance_yen": (old.caps.balance_yen, new.caps.balance_yen),
    }
    if old.frame is not None and new.frame is not None:
        limits["frame.sets_total"] = (old.frame.sets_total, new.frame.sets_total)
        limits["frame.sets_per_person"] = (old.frame.sets_per_person, new.frame.sets_per_person)
    if old.gifts.allowed and not new.gifts.allowed:
        yield "gifts.allowed: gifts that are allowed stay allowed."
    elif old.gifts.allowed:
        pair = (old.gifts.transfer_max_yen, new.gifts.transfer_max_yen)
        limits["gifts.transfer_max_yen"] = pair
        limits["gifts.month_max_yen"] = (old.gifts.month_max_yen, new.gifts.month_max_yen)
    for field, (before, after) in limits.items():
        if after is not None and (before is None or after < before):
            told = "there was no limit" if before is None else f"it was {before:,}"
            yield f"{field}: may rise and never fall; {told}."


def _narrower(old: Spending, new: Spending) -> Iterator[str]:
    if new.first_day > old.first_day:
        yield f"spending.first_day: not later than {old.first_day}."
    if new.last_day < old.last_day:
        yield f"spending.last_day: not earlier than {old.last_day}."
    if old.shops == "all" and new.shops != "all":
        yield "spending.shops: all shops stay all."
    if _is_narrower(old.categories, new.categories):
        yield "spending.categories: none may be taken away."
    if new.excluded_categories - old.excluded_categories:
        yield "spending.excluded_categories: none may be added."
    if _is_narrower(old.shop_ids, new.shop_ids):
        yield "spending.shop_ids: none may be taken away."


def _is_narrower(old: Collection[object], new: Collection[object]) -> bool:
    """An empty list allows everything."""
    if not new:
        return False
    return not old or not set(old) <= set(new)


def _stricter(old: Eligibility, new: Eligibility) -> Iterator[str]:
    if new.resident is not None and new.resident != old.resident:
        yield "eligibility.resident: not stricter than before."
    if new.min_age is not None and (old.min_age is None or new.min_age > old.min_age):
        yield "eligibility.min_age: not higher than before."
    if new.max_age is not None and (old.max_age is None or new.max_age < old.max_age):
        yield "eligibility.max_age: not lower than before."
    if new.children_min > old.children_min:
        yield "eligibility.children_min: not higher than before."
    if new.list is not None and new.list != old.list:
        yield "eligibility.list: no other list than before."


def _shorter(old: Expiry, new: Expiry) -> Iterator[str]:
    """The programme's last day is the latest there is, so ``fixed`` takes nothing away."""
    if new.rule == "fixed":
        return
    if new.rule != old.rule:
        yield f"expiry.rule: stays {old.rule}, or becomes fixed."
        return
    if new.months < old.months or new.years < old.years or (old.month_end and not new.month_end):
        yield "expiry: money that is issued is not good for a shorter time than before."


def _meaner(old: Refunds, new: Refunds) -> Iterator[str]:
    ranks = ("refuse", "budget", "extend_days")
    if ranks.index(new.to_expired) < ranks.index(old.to_expired):
        yield f"refunds.to_expired: stays {old.to_expired}, or becomes better for people."
    elif new.extend_days < old.extend_days:
        yield f"refunds.extend_days: not less than {old.extend_days}."

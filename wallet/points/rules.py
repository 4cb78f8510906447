"""The pure part of points: what a gift draws on, how far one may go, what steps and exchanges earn.

Amounts are yen, days are Japanese calendar days.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise
from typing import Final

import msgspec

from wallet.core.refusals import Refusal
from wallet.people.rules import TierLimits
from wallet.programmes.rules import Draw, Funding, Purse, draw
from wallet.programmes.terms import Caps, Eligibility, Exchange, Gifts

LEGS_MAX: Final = 5
"""Purses that one gift is taken from at most: each may need an id to hold, to free and to give."""

EXCHANGE_LEGS_MAX: Final = 14
"""Purses that one exchange is taken from at most; its last id is for what comes in."""

GIFT_TRANSFER_MAX_YEN: Final = 100_000
GIFT_MONTH_MAX_YEN: Final = 300_000
"""Beyond these, value that people can send each other falls under stricter law (高額電子移転可能型,
in force since 1 June 2023). No programme and no tier may allow more."""

FIRST_CARD_CHARGE_MAX_YEN: Final = 5_000
"""What anybody may charge by card before one such charge has come through: whoever tries stolen
cards out gets little for each."""

STEPS_MAX: Final = 100_000
"""More steps in a day than anybody takes; a phone that says so counts something else."""

LADDER_RUNGS_MAX: Final = 10


class GiftCase(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how much somebody may give now; ``given_*`` is what they have given so far.

    A gift that waits to be claimed counts, one that was cancelled or that nobody claimed does not.
    """

    tier: TierLimits
    gifts: Gifts
    given_day_yen: int
    given_month_yen: int
    given_month_programme_yen: int


class ChargeCase(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how much somebody may charge now; what is still to be paid counts as held."""

    tier: TierLimits
    caps: Caps
    by_card: bool
    held_yen: int
    held_programme_yen: int
    waiting_card_yen: int
    has_charged_by_card: bool


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who has walked so many ``steps`` on a day has earned ``yen`` for that day, in all."""

    steps: int
    yen: int


class Swap(msgspec.Struct, frozen=True):
    """What is taken of one money and what comes in of the other."""

    given_yen: int
    received_yen: int


def may_hold(eligibility: Eligibility, *, resident: bool | None) -> bool:
    """Whether somebody may receive a programme's money, as far as it asks where they live.

    ``resident`` is what the identity app or the counter has said, None for nothing yet: who has not
    shown it is not one. Ages and rosters are asked where people apply.
    """
    return eligibility.resident is None or eligibility.resident == bool(resident)


def check_gift(case: GiftCase, *, amount_yen: int) -> Refusal | None:
    """Return why this much may not be given, or None; the ceiling of one gift comes first."""
    transfer_max_yen = _least(GIFT_TRANSFER_MAX_YEN, case.gifts.transfer_max_yen)
    if amount_yen > transfer_max_yen:
        return Refusal("gift_limit_transfer", {"limit_yen": transfer_max_yen})
    day_max_yen = case.tier.gift_day_yen
    if case.given_day_yen + amount_yen > day_max_yen:
        left_yen = max(0, day_max_yen - case.given_day_yen)
        return Refusal("gift_limit_daily", {"limit_yen": day_max_yen, "left_yen": left_yen})
    months = [(GIFT_MONTH_MAX_YEN, case.given_month_yen)]
    if case.gifts.month_max_yen is not None:
        months.append((case.gifts.month_max_yen, case.given_month_programme_yen))
    limit_yen, given_yen = min(months, key=lambda month: month[0] - month[1])
    if given_yen + amount_yen > limit_yen:
        left_yen = max(0, limit_yen - given_yen)
        return Refusal("gift_limit_monthly", {"limit_yen": limit_yen, "left_yen": left_yen})
    return None


def plan_gift(
    purses: Iterable[tuple[Purse, int]], *, amount_yen: int, day: date
) -> list[Draw] | Refusal:
    """Take a gift from (purse, available) pairs of one programme, or say what there is to give.

    Only what the holder has paid for is given away, and what lasts longest first: nobody passes
    on what is about to expire.
    """
    paid = [
        (purse, available_yen)
        for purse, available_yen in purses
        if purse.funding == Funding.PAID and purse.expires_on >= day and available_yen > 0
    ]
    paid.sort(key=lambda pair: (pair[0].expires_on, pair[0].account_id.int), reverse=True)
    return _whole(paid[:LEGS_MAX], amount_yen)


def check_charge(case: ChargeCase, *, amount_yen: int) -> Refusal | None:
    """Return why this much may not be charged, or None; how it is paid comes first."""
    left_yen = FIRST_CARD_CHARGE_MAX_YEN - case.waiting_card_yen
    if case.by_card and not case.has_charged_by_card and amount_yen > left_yen:
        facts = {"limit_yen": FIRST_CARD_CHARGE_MAX_YEN, "left_yen": max(0, left_yen)}
        return Refusal("charge_first_card", facts)
    return check_room(
        amount_yen=amount_yen,
        held_yen=case.held_yen,
        held_programme_yen=case.held_programme_yen,
        tier=case.tier,
        caps=case.caps,
    )


def check_room(
    *, amount_yen: int, held_yen: int, held_programme_yen: int, tier: TierLimits, caps: Caps
) -> Refusal | None:
    """Return why a wallet cannot take this much more, or None; what it holds now is given."""
    left_yen = tier.balance_yen - held_yen
    if caps.balance_yen is not None:
        left_yen = min(left_yen, caps.balance_yen - held_programme_yen)
    if amount_yen > left_yen:
        return Refusal("balance_limit", {"left_yen": max(0, left_yen)})
    return None


def earned_yen(ladder: Iterable[Rung], *, steps: int) -> int:
    """Return what so many steps on one day have earned for that day."""
    return max((rung.yen for rung in ladder if rung.steps <= steps), default=0)


def check_ladder(ladder: Sequence[Rung]) -> Refusal | None:
    """Return why a ladder of steps is none: more steps must earn more, and nobody walks 100,000."""
    rises = all(low.steps < high.steps and low.yen < high.yen for low, high in pairwise(ladder))
    if not 1 <= len(ladder) <= LADDER_RUNGS_MAX or not rises:
        return Refusal("step_ladder_invalid")
    first, last = ladder[0], ladder[-1]
    if first.steps < 1 or first.yen < 1 or last.steps > STEPS_MAX:
        return Refusal("step_ladder_invalid")
    return None


def swap_of(rate: Exchange, *, offered_yen: int) -> Swap | None:
    """Return what an exchange takes and brings, None when the offer is too small to bring a yen.

    What comes in is ``offered × times / per``, floored; of the offer only as much is taken as that
    costs, so that nothing is lost in the rounding.
    """
    received_yen = offered_yen * rate.times // rate.per
    if received_yen < 1:
        return None
    return Swap(-(-received_yen * rate.per // rate.times), received_yen)


def plan_exchange(
    purses: Iterable[tuple[Purse, int]], *, amount_yen: int, day: date
) -> list[Draw] | Refusal:
    """Take an exchange from (purse, available) pairs of one programme, first to expire first.

    Only free money changes its programme. What was paid for would leave it by a refund, which the
    Payment Services Act (Art. 20(5)) forbids, and a premium belongs to what was paid for it.
    """
    free = [
        (purse, available_yen)
        for purse, available_yen in purses
        if purse.funding == Funding.FREE and purse.expires_on >= day and available_yen > 0
    ]
    free.sort(key=lambda pair: (pair[0].expires_on, pair[0].account_id.int))
    return _whole(free[:EXCHANGE_LEGS_MAX], amount_yen)


def _whole(purses: Sequence[tuple[Purse, int]], amount_yen: int) -> list[Draw] | Refusal:
    available_yen = sum(available for _, available in purses)
    if amount_yen > available_yen:
        missing_yen = amount_yen - available_yen
        facts = {"available_yen": available_yen, "missing_yen": missing_yen}
        return Refusal("balance_insufficient", facts)
    return draw(purses, amount_yen=amount_yen)


def _least(ceiling_yen: int, own_yen: int | None) -> int:
    return ceiling_yen if own_yen is None else min(ceiling_yen, own_yen)

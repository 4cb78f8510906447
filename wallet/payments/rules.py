"""The pure part of paying: what was asked, what came of it, and every rule in between."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

import msgspec

from wallet.auth.rules import INCLUDED, Acr, FactorClass, Risk, Shown, reached, strongest
from wallet.core.clock import to_datetime
from wallet.core.refusals import Refusal
from wallet.ops.rules import matches
from wallet.programmes.rules import (
    Draw,
    Programme,
    Purse,
    Shop,
    draw,
    in_spending_order,
    refusal_of,
)
from wallet.programmes.terms import Caps

LEGS_MAX: Final = 10
"""Purses one payment can draw on: its transfers' ids are the payment's id + 1 … + 10."""

COUPON_NUMBER: Final = 11
"""The transfer that pays a shop what a coupon took off has the payment's id + 11."""

BONUS_NUMBER: Final = 12
"""A bonus has the payment's id + 12, and a second one + 13."""

VESTS_LATER: Final = 2
"""What gives a bonus that was set aside has two more than that: + 14 or + 15."""

CPM_CODE: Final = "cpm_code"
CARD: Final = "card"
APP: Final = "app"
PAPER: Final = "paper"

WAITS_S: Final = 180
"""How long a payment waits for its payer's answer."""


class PayRequest(msgspec.Struct, frozen=True, gc=False):
    """A merchant's request to be paid, or a person's to pay it by phone (``asked_by``).

    ``payment_id`` is made before the request is queued, so that an answer found after a lost
    connection can be told from an earlier request's. The instrument is only known by its hash;
    a phone is its own, and says which wallet is to pay.
    """

    payment_id: UUID
    merchant_id: UUID
    idempotency_key: str
    merchant_payment_id: str
    terminal_id: UUID
    amount_yen: int
    instrument: str
    instrument_hash: bytes
    description: str | None
    asked_by: UUID | None = None
    wallet_id: UUID | None = None

    @property
    def owner_id(self) -> UUID:
        """Whose the idempotency key is."""
        return self.asked_by or self.merchant_id


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one purse gave: the programme's code, the funding class and the yen.

    ``discreet``: which programme it is, is between its holder and the city.
    """

    programme: str
    funding: str
    amount_yen: int
    discreet: bool = False


def parts_of(draws: Iterable[Draw], programmes: Mapping[UUID, Programme]) -> tuple[Part, ...]:
    """Return what a payment says of the purses that it was drawn from."""
    found = ((programmes[one.purse.programme_id], one) for one in draws)
    return tuple(
        Part(programme.code, one.purse.funding, one.amount_yen, programme.is_discreet)
        for programme, one in found
    )


class Earned(msgspec.Struct, frozen=True, gc=False):
    """A bonus that a payment brought: of which programme, and from which day it can be spent."""

    programme: str
    amount_yen: int
    usable_on: date


class Discount(msgspec.Struct, frozen=True, gc=False):
    """What a coupon has taken off the price; the budget of its programme pays it to the shop."""

    coupon: str
    amount_yen: int


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """That a payment waits for its payer, and until when.

    ``number`` is for the shop's screen: the payer reads it there and types it into the phone.
    """

    expires_at: datetime
    number: str | None


class Payment(msgspec.Struct, frozen=True, gc=False):
    """A payment: succeeded, declined with a ``refusal`` that says why, or ``waiting`` as yet.

    What is recorded in the first two states is final. ``created_at`` is when it was asked for.
    ``parts`` and the ``discount`` make its amount.
    """

    id: UUID
    merchant_id: UUID
    merchant_payment_id: str
    shop_id: UUID
    terminal_id: UUID
    amount_yen: int
    instrument: str
    instrument_hash: bytes
    description: str | None
    refusal: Refusal | None
    wallet_id: UUID | None
    created_at: datetime
    parts: tuple[Part, ...] = ()
    asked_by: UUID | None = None
    helper_id: UUID | None = None
    waiting: Waiting | None = None
    earned: tuple[Earned, ...] = ()
    discount: Discount | None = None

    @property
    def state(self) -> str:
        """``succeeded``, ``declined`` or ``requires_step_up``."""
        if self.waiting is not None:
            return "requires_step_up"
        return "succeeded" if self.refusal is None else "declined"


class Holder(msgspec.Struct, frozen=True, gc=False):
    """A wallet, a card or a proxy: its ceilings, and who stands behind it.

    A wallet has the tier of its person, and cools off while that person's sign-in was changed a
    short while ago. ``coupon`` is the one that it is to use next.
    """

    id: UUID
    state: str
    payment_limit_yen: int
    daily_limit_yen: int
    tier: str | None = None
    person_id: UUID | None = None
    cooling_until: datetime | None = None
    coupon: str | None = None

    @property
    def owner_id(self) -> UUID:
        """Whom a bonus and a coupon count for: the person, or a wallet without one."""
        return self.person_id or self.id


class Level(msgspec.Struct, frozen=True, gc=False):
    """A level that a phone had reached: by which classes, and when the last of them was shown."""

    acr: Acr
    classes: tuple[FactorClass, ...]
    at: datetime

    def carries(self, *, now: datetime, max_age_s: int) -> frozenset[Acr]:
        """Return the levels it stands in for, none when it is older than that."""
        is_fresh = now - self.at <= timedelta(seconds=max_age_s)
        return INCLUDED[self.acr] if is_fresh else frozenset()


def differences(request: PayRequest, payment: Payment, *, shop_id: UUID | None = None) -> list[str]:
    """Return the JSON pointers of the fields in which a repeat differs from the first request.

    A phone names a shop, ``shop_id``, by any of its terminals, and is itself the instrument.
    """
    if request.instrument == payment.instrument == APP:
        return _differences_by_phone(request, payment, shop_id)
    pairs = (
        ("/merchant_payment_id", request.merchant_payment_id, payment.merchant_payment_id),
        ("/terminal_id", request.terminal_id, payment.terminal_id),
        ("/amount/amount", request.amount_yen, payment.amount_yen),
        ("/instrument/type", request.instrument, payment.instrument),
        ("/instrument/value", request.instrument_hash, payment.instrument_hash),
        ("/order_description", request.description, payment.description),
    )
    return [pointer for pointer, asked, stored in pairs if asked != stored]


def _differences_by_phone(request: PayRequest, payment: Payment, shop_id: UUID | None) -> list[str]:
    pairs = (
        ("/terminal_id", shop_id, payment.shop_id),
        ("/amount/amount", request.amount_yen, payment.amount_yen),
        ("/wallet_id", request.wallet_id or payment.wallet_id, payment.wallet_id),
    )
    return [pointer for pointer, asked, stored in pairs if asked != stored]


def check_limits(
    holders: Sequence[Holder], spent_yen: Mapping[UUID, int], *, amount_yen: int
) -> Refusal | None:
    """Return the first ceiling the payment would break, the wallet's before the card's."""
    for holder in holders:
        if amount_yen > holder.payment_limit_yen:
            return Refusal("limit_payment", {"limit_yen": holder.payment_limit_yen})
        left_yen = max(0, holder.daily_limit_yen - spent_yen[holder.id])
        if amount_yen > left_yen:
            return Refusal(
                "limit_daily", {"limit_yen": holder.daily_limit_yen, "left_yen": left_yen}
            )
    return None


def check_cooling_off(
    cooling_until: Sequence[datetime | None], *, now: datetime, limit_yen: int
) -> Refusal | None:
    """Refuse a payment above ``limit_yen`` while a person or a phone cools off."""
    if any(until is not None and until > now for until in cooling_until):
        return Refusal("limit_cooling_off", {"limit_yen": limit_yen})
    return None


def weigh_risk(request: PayRequest) -> Risk:
    """Return the risk of a payment: the one place where it enters the decision.

    No rule weighs anything yet, so every payment is of low risk.
    """
    del request
    return Risk.LOW


def level_of(shown: Sequence[Shown], *, now_us: int, max_age_s: int) -> Level | None:
    """Return the strongest level that a phone has reached, as old as its oldest part."""
    acr = strongest(reached(shown, now_us=now_us, max_age_s=max_age_s))
    if acr is None:
        return None
    for since_us in sorted({one.at_us for one in shown}, reverse=True):
        latest = [one for one in shown if one.at_us >= since_us]
        if acr in reached(latest, now_us=now_us, max_age_s=max_age_s):
            classes = sorted({one.factor_class for one in latest})
            return Level(acr, tuple(classes), to_datetime(since_us))
    return None


class Cap(msgspec.Struct, frozen=True, gc=False):
    """What one payment may still draw of a programme's money, by the cap that allows least.

    ``limit_yen`` is that cap; ``by_day`` when it is the day's, which others have used already.
    """

    left_yen: int
    limit_yen: int
    by_day: bool


def cap_of(caps: Caps, *, spent_yen: int) -> Cap:
    """Return what is left by a programme's caps; at least one of them is there."""
    found = []
    if caps.payment_yen is not None:
        found.append(Cap(caps.payment_yen, caps.payment_yen, by_day=False))
    if caps.day_yen is not None:
        found.append(Cap(max(0, caps.day_yen - spent_yen), caps.day_yen, by_day=True))
    return min(found, key=lambda cap: cap.left_yen)


def plan(
    purses: Sequence[tuple[Purse, int]],
    programmes: Mapping[UUID, Programme],
    *,
    shop: Shop,
    day: date,
    amount_yen: int,
    stops: frozenset[str] = frozenset(),
    caps: Mapping[UUID, Cap] = MappingProxyType({}),
) -> list[Draw] | Refusal:
    """Return what to draw from which purse, or why the money does not suffice here.

    ``purses`` are (purse, available yen). When other money of the wallet would have covered the
    amount, the refusal names the rule that kept it out rather than an empty balance. ``caps`` are
    those of programmes that have any.
    """
    usable: list[Purse] = []
    available = {}
    kept_out: dict[str, int] = {}
    for purse, available_yen in purses:
        if available_yen <= 0 or purse.expires_on < day:
            continue
        programme = programmes[purse.programme_id]
        reason = refusal_of(programme, shop=shop, day=day, until=purse.expires_on)
        if reason is None and stops and matches(stops, programme=programme.code):
            reason = "service_stopped"
        if reason is None:
            usable.append(purse)
            available[purse.account_id] = available_yen
        else:
            kept_out[reason] = kept_out.get(reason, 0) + available_yen
    if len(usable) > 1:
        usable = in_spending_order(usable, programmes)
    pairs = [(p, available[p.account_id]) for p in usable[:LEGS_MAX]]
    most_yen = {programme_id: cap.left_yen for programme_id, cap in caps.items()}
    draws = draw(pairs, amount_yen=amount_yen, most_yen=most_yen)
    drawn_yen = sum(one.amount_yen for one in draws)
    if drawn_yen == amount_yen:
        return draws
    if caps and sum(yen for _, yen in pairs) >= amount_yen:
        return _capped(drawn_yen, caps, {purse.programme_id for purse in usable})
    return _shortage(drawn_yen, kept_out, amount_yen)


def _capped(drawn_yen: int, caps: Mapping[UUID, Cap], usable: Collection[UUID]) -> Refusal:
    """Name the cap but for which the money would have sufficed."""
    days = [cap for programme_id, cap in caps.items() if programme_id in usable and cap.by_day]
    if days:
        limit_yen = max(cap.limit_yen for cap in days)
        return Refusal("limit_daily", {"limit_yen": limit_yen, "left_yen": drawn_yen})
    return Refusal("limit_payment", {"limit_yen": drawn_yen})


def _shortage(available_yen: int, kept_out: Mapping[str, int], amount_yen: int) -> Refusal:
    for reason in ("service_stopped", "merchant_not_eligible", "outside_period"):
        if available_yen + kept_out.get(reason, 0) >= amount_yen:
            return Refusal(reason, {"available_yen": available_yen})
    return Refusal(
        "balance_insufficient",
        {"available_yen": available_yen, "missing_yen": amount_yen - available_yen},
    )

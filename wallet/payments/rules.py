"""The pure part of paying: what was asked, what came of it, and every rule in between."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.refusals import Refusal
from wallet.programmes.rules import (
    Draw,
    Programme,
    Purse,
    Shop,
    draw,
    in_spending_order,
    refusal_of,
)

LEGS_MAX: Final = 15
"""Purses one payment can draw on: its transfers' ids are the payment's id + 1 … + 15."""

CPM_CODE: Final = "cpm_code"
CARD: Final = "card"


class PayRequest(msgspec.Struct, frozen=True, gc=False):
    """A merchant's request to be paid.

    ``payment_id`` is made before the request is queued, so that an answer found after a lost
    connection can be told from an earlier request's. The instrument is only known by its hash.
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


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one purse gave: the programme's code, the funding class and the yen."""

    programme: str
    funding: str
    amount_yen: int


class Payment(msgspec.Struct, frozen=True, gc=False):
    """A payment as it is recorded; final when written. ``refusal`` says why it was declined."""

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

    @property
    def state(self) -> str:
        """``succeeded`` or ``declined``."""
        return "succeeded" if self.refusal is None else "declined"


class Holder(msgspec.Struct, frozen=True, gc=False):
    """A wallet or a card: its ceilings and what it has spent on the day it was read for."""

    id: UUID
    state: str
    payment_limit_yen: int
    daily_limit_yen: int


class Verdict(StrEnum):
    """What the risk of a payment calls for; the strictest wins."""

    ALLOW = "allow"


def differences(request: PayRequest, payment: Payment) -> list[str]:
    """Return the JSON pointers of the fields in which a repeat differs from the first request."""
    pairs = (
        ("/merchant_payment_id", request.merchant_payment_id, payment.merchant_payment_id),
        ("/terminal_id", request.terminal_id, payment.terminal_id),
        ("/amount/amount", request.amount_yen, payment.amount_yen),
        ("/instrument/type", request.instrument, payment.instrument),
        ("/instrument/value", request.instrument_hash, payment.instrument_hash),
        ("/order_description", request.description, payment.description),
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


def weigh_risk(request: PayRequest, holders: Sequence[Holder]) -> Verdict:
    """Return the verdict on a payment: the one place where risk enters the decision.

    No rule asks for more than the instrument's own proof yet, so every payment is allowed.
    """
    del request, holders
    return Verdict.ALLOW


def plan(
    purses: Sequence[tuple[Purse, int]],
    programmes: Mapping[UUID, Programme],
    *,
    shop: Shop,
    day: date,
    amount_yen: int,
    stops: frozenset[str] = frozenset(),
) -> list[Draw] | Refusal:
    """Return what to draw from which purse, or why the money does not suffice here.

    ``purses`` are (purse, available yen). When other money of the wallet would have covered the
    amount, the refusal names the rule that kept it out rather than an empty balance.
    """
    usable: list[Purse] = []
    available = {}
    kept_out: dict[str, int] = {}
    for purse, available_yen in purses:
        if available_yen <= 0 or purse.expires_on < day:
            continue
        programme = programmes[purse.programme_id]
        reason = refusal_of(programme, shop=shop, day=day)
        if reason is None and stops and f"programme:{programme.code}" in stops:
            reason = "service_stopped"
        if reason is None:
            usable.append(purse)
            available[purse.account_id] = available_yen
        else:
            kept_out[reason] = kept_out.get(reason, 0) + available_yen
    if len(usable) > 1:
        usable = in_spending_order(usable, programmes)
    draws = draw(((p, available[p.account_id]) for p in usable[:LEGS_MAX]), amount_yen=amount_yen)
    drawn_yen = sum(one.amount_yen for one in draws)
    return draws if drawn_yen == amount_yen else _shortage(drawn_yen, kept_out, amount_yen)


def _shortage(available_yen: int, kept_out: Mapping[str, int], amount_yen: int) -> Refusal:
    for reason in ("service_stopped", "merchant_not_eligible", "outside_period"):
        if available_yen + kept_out.get(reason, 0) >= amount_yen:
            return Refusal(reason, {"available_yen": available_yen})
    return Refusal(
        "balance_insufficient",
        {"available_yen": available_yen, "missing_yen": amount_yen - available_yen},
    )

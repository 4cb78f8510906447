"""The pure part of refunding: which of a payment's parts give how much back, and where it goes."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.refusals import Refusal
from wallet.payments.rules import COUPON_NUMBER, PAPER
from wallet.programmes.rules import Purse
from wallet.programmes.terms import Refunds

LAST_NUMBER: Final = 15
"""Of the transfers of one refund; those after the coupon's take bonuses back."""


class RefundRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A payment to give back: ``amount_yen`` of it, or None for all that has not been given back.

    ``refund_id`` is the caller's, made by :func:`align_id`. ``merchant_refund_id`` is the
    merchant's own name for it, and makes a repeat a repeat.
    """

    refund_id: UUID
    merchant_id: UUID
    merchant_refund_id: str
    payment_id: UUID
    amount_yen: int | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        """Refuse an id whose transfers would have no room, and an amount that is none."""
        if self.refund_id.bytes[15] & 0x0F:
            message = f"make the id {self.refund_id} with align_id"
            raise ValueError(message)
        if self.amount_yen is not None and self.amount_yen < 1:
            message = f"{self.amount_yen} yen cannot be given back"
            raise ValueError(message)


class Leg(msgspec.Struct, frozen=True, gc=False):
    """A part of a payment: its transfer's ``number``, where it came from, how much is left of it.

    ``account_id`` is a purse's, or for a coupon the budget's that bore it; it was paid ``at_us``.
    """

    number: int
    account_id: UUID
    amount_yen: int
    refunded_yen: int = 0
    at_us: int = 0

    @property
    def left_yen(self) -> int:
        """What has not been given back."""
        return self.amount_yen - self.refunded_yen

    @property
    def is_coupon(self) -> bool:
        """Whether a coupon has paid it."""
        return self.number == COUPON_NUMBER


class Target(StrEnum):
    """Where a part of a refund goes."""

    PURSE = "purse"
    BUDGET = "budget"


class Share(msgspec.Struct, frozen=True, gc=False):
    """What one part of a payment gives back."""

    leg: Leg
    amount_yen: int


class RefundPart(msgspec.Struct, frozen=True, gc=False):
    """What was given back: of which programme and class of money, and where it went.

    ``funding`` is None where a coupon had paid.
    """

    programme: str
    funding: str | None
    amount_yen: int
    target: Target


class Refund(msgspec.Struct, frozen=True, gc=False):
    """A refund as it was recorded, which is final.

    ``bonus_taken_yen`` went back to the budget that had given it for the payment;
    ``bonus_missing_yen`` of it was to go back too, and had been spent.
    """

    id: UUID
    payment_id: UUID
    merchant_id: UUID
    merchant_refund_id: str
    amount_yen: int
    reason: str | None
    bonus_taken_yen: int
    bonus_missing_yen: int
    created_at: datetime
    parts: tuple[RefundPart, ...] = ()


def check_amount(amount_yen: int | None, legs: Iterable[Leg], *, instrument: str) -> int | Refusal:
    """Return how much to give back, or why it cannot be."""
    left_yen = sum(leg.left_yen for leg in legs)
    if instrument == PAPER:
        return Refusal("refund_of_paper")
    if left_yen == 0:
        return Refusal("payment_refunded")
    if amount_yen is not None and amount_yen > left_yen:
        return Refusal("refund_exceeds_payment", {"left_yen": left_yen})
    return left_yen if amount_yen is None else amount_yen


def release(legs: Iterable[Leg], *, amount_yen: int) -> list[Share]:
    """Return what each part gives back, in the reverse of the order in which they were drawn.

    A coupon came off the price before anything was drawn, and so comes back last.
    """
    drawn = sorted(legs, key=lambda leg: 0 if leg.is_coupon else leg.number)
    shares: list[Share] = []
    missing_yen = amount_yen
    for leg in reversed(drawn):
        given_yen = min(leg.left_yen, missing_yen)
        if given_yen > 0:
            shares.append(Share(leg, given_yen))
            missing_yen -= given_yen
    return shares


def is_over(purse: Purse, *, day: date) -> bool:
    """Whether a purse takes nothing back any more, because its last day is over."""
    return purse.expires_on < day


def later_day(refunds: Refunds, *, day: date) -> date | None:
    """Return until when money is good that comes back into a purse which is over.

    None where it does not come back to its holder.
    """
    if refunds.to_expired != "extend_days":
        return None
    return day + timedelta(days=refunds.extend_days)


def bonus_to_take(*, bonus_yen: int, taken_yen: int, amount_yen: int, left_yen: int) -> int:
    """Return how much of a bonus is to go back, when ``left_yen`` of a payment stay paid.

    Its holder keeps the share that the rest of the payment stands for, without fractions.
    """
    return max(0, bonus_yen - bonus_yen * left_yen // amount_yen - taken_yen)

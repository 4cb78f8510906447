"""How the product's objects look outside: JSON with prefixed ids, RFC 3339 times, whole yen."""

from typing import Final, Literal

import msgspec

from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.ids import public_id
from wallet.core.money import CURRENCY
from wallet.payments.rules import Payment

OTHER: Final = "other"
"""What a shop is told instead of the name of a benefit."""


class MoneyBody(msgspec.Struct, frozen=True, gc=False):
    """Whole yen."""

    amount: int
    currency: Literal["JPY"] = CURRENCY


class FundingBody(msgspec.Struct, frozen=True, gc=False, rename={"funding": "class"}):
    """What one purse gave: its programme, who had paid for that money, and how much.

    A shop is told the programme ``other`` of what only its holder and the city know, a benefit.
    """

    programme: str
    funding: Literal["paid", "premium", "free"]
    amount: MoneyBody


class BonusBody(msgspec.Struct, frozen=True, gc=False):
    """A bonus that a payment brought, of which programme, and from which day it can be spent."""

    programme: str
    amount: MoneyBody
    usable_from: str


class CouponBody(msgspec.Struct, frozen=True, gc=False):
    """What a coupon took off; the city pays it to the shop, and ``funding`` makes up the rest."""

    coupon: str
    amount: MoneyBody


class InstrumentBody(msgspec.Struct, frozen=True, gc=False):
    """What the customer showed; never the value itself."""

    type: Literal["cpm_code", "card", "app", "paper"]


class StepUpBody(msgspec.Struct, frozen=True, gc=False):
    """What a payment waits for: its payer's approval on their phone.

    ``number`` is to be shown on the shop's screen: the payer types it into the phone.
    """

    number: str | None
    expires_at: str


class PaymentBody(msgspec.Struct, frozen=True, gc=False):
    """A payment as its merchant sees it.

    ``paid`` and ``final`` spare everybody from interpreting ``status``; ``funding`` is what the
    payment drew on, in the order it was drawn; ``declined_because`` is a code of the catalogue;
    ``step_up`` says what a payment waits for that is not final yet. ``bonus`` is what it brought
    its payer, and ``coupon`` what was taken off its amount.
    """

    id: str
    object: Literal["payment"]
    livemode: bool
    status: Literal["succeeded", "declined", "requires_step_up"]
    paid: bool
    final: bool
    merchant_payment_id: str
    amount: MoneyBody
    funding: list[FundingBody]
    instrument: InstrumentBody
    shop_id: str
    terminal_id: str
    order_description: str | None
    declined_because: str | None
    step_up: StepUpBody | None
    created_at: str
    bonus: list[BonusBody]
    coupon: CouponBody | None


class PaymentListBody(msgspec.Struct, frozen=True):
    """One page of payments, newest first; ``next_cursor`` leads to the next one."""

    data: list[PaymentBody]
    has_more: bool
    next_cursor: str | None


class ReceiptBody(msgspec.Struct, frozen=True, gc=False):
    """A payment as its payer sees it on their phone."""

    id: str
    object: Literal["payment"]
    livemode: bool
    status: Literal["succeeded", "declined", "requires_step_up"]
    paid: bool
    final: bool
    amount: MoneyBody
    funding: list[FundingBody]
    instrument: InstrumentBody
    wallet_id: str | None
    shop_id: str
    created_at: str
    bonus: list[BonusBody]
    coupon: CouponBody | None


def receipt_body(payment: Payment, *, livemode: bool) -> ReceiptBody:
    """Return a payment as its payer sees it."""
    waits = payment.waiting is not None
    return ReceiptBody(
        public_id("pay", payment.id),
        "payment",
        livemode,
        payment.state,  # type: ignore[arg-type] # one of the three
        payment.refusal is None and not waits,
        not waits,
        MoneyBody(payment.amount_yen),
        _funding(payment),
        InstrumentBody(payment.instrument),  # type: ignore[arg-type] # the database checks the three
        None if payment.wallet_id is None else public_id("wal", payment.wallet_id),
        public_id("shp", payment.shop_id),
        rfc3339(to_microseconds(payment.created_at)),
        _bonus(payment),
        _coupon(payment),
    )


def payment_body(payment: Payment, *, livemode: bool) -> PaymentBody:
    """Return a payment as its merchant sees it."""
    waiting = payment.waiting
    succeeded = payment.refusal is None and waiting is None
    return PaymentBody(
        public_id("pay", payment.id),
        "payment",
        livemode,
        payment.state,  # type: ignore[arg-type] # one of the three
        succeeded,
        waiting is None,
        payment.merchant_payment_id,
        MoneyBody(payment.amount_yen),
        _funding(payment, to_shop=True),
        InstrumentBody(payment.instrument),  # type: ignore[arg-type] # the database checks the three
        public_id("shp", payment.shop_id),
        public_id("ter", payment.terminal_id),
        payment.description,
        None if payment.refusal is None else payment.refusal.code,
        None
        if waiting is None
        else StepUpBody(waiting.number, rfc3339(to_microseconds(waiting.expires_at))),
        rfc3339(to_microseconds(payment.created_at)),
        _bonus(payment),
        _coupon(payment),
    )


def _bonus(payment: Payment) -> list[BonusBody]:
    return [
        BonusBody(one.programme, MoneyBody(one.amount_yen), one.usable_on.isoformat())
        for one in payment.earned
    ]


def _coupon(payment: Payment) -> CouponBody | None:
    discount = payment.discount
    return None if discount is None else CouponBody(discount.coupon, MoneyBody(discount.amount_yen))


def _funding(payment: Payment, *, to_shop: bool = False) -> list[FundingBody]:
    return [
        FundingBody(
            OTHER if to_shop and part.discreet else part.programme,
            part.funding,  # type: ignore[arg-type] # as above
            MoneyBody(part.amount_yen),
        )
        for part in payment.parts
    ]

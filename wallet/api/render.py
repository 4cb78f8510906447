"""How the product's objects look outside: JSON with prefixed ids, RFC 3339 times, whole yen."""

from typing import Literal

import msgspec

from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.ids import public_id
from wallet.core.money import CURRENCY
from wallet.payments.rules import Payment


class MoneyBody(msgspec.Struct, frozen=True, gc=False):
    """Whole yen."""

    amount: int
    currency: Literal["JPY"] = CURRENCY


class FundingBody(msgspec.Struct, frozen=True, gc=False, rename={"funding": "class"}):
    """What one purse gave: its programme, who had paid for that money, and how much."""

    programme: str
    funding: Literal["paid", "premium", "free"]
    amount: MoneyBody


class InstrumentBody(msgspec.Struct, frozen=True, gc=False):
    """What the customer showed; never the value itself."""

    type: Literal["cpm_code", "card"]


class PaymentBody(msgspec.Struct, frozen=True, gc=False):
    """A payment as its merchant sees it.

    ``paid`` and ``final`` spare everybody from interpreting ``status``; ``funding`` is what the
    payment drew on, in the order it was drawn; ``declined_because`` is a code of the catalogue.
    """

    id: str
    object: Literal["payment"]
    livemode: bool
    status: Literal["succeeded", "declined"]
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
    created_at: str


class PaymentListBody(msgspec.Struct, frozen=True):
    """One page of payments, newest first; ``next_cursor`` leads to the next one."""

    data: list[PaymentBody]
    has_more: bool
    next_cursor: str | None


def payment_body(payment: Payment, *, livemode: bool) -> PaymentBody:
    """Return a payment as its merchant sees it."""
    succeeded = payment.refusal is None
    return PaymentBody(
        public_id("pay", payment.id),
        "payment",
        livemode,
        "succeeded" if succeeded else "declined",
        succeeded,
        True,  # noqa: FBT003 - every payment is final the moment it is recorded
        payment.merchant_payment_id,
        MoneyBody(payment.amount_yen),
        [
            FundingBody(part.programme, part.funding, MoneyBody(part.amount_yen))  # type: ignore[arg-type] # the database checks the three
            for part in payment.parts
        ],
        InstrumentBody(payment.instrument),  # type: ignore[arg-type] # the same
        public_id("shp", payment.shop_id),
        public_id("ter", payment.terminal_id),
        payment.description,
        None if payment.refusal is None else payment.refusal.code,
        rfc3339(to_microseconds(payment.created_at)),
    )

"""What the coupon of a wallet takes off a payment, and the transfer that pays it to the shop."""

from uuid import UUID

from wallet.core.ids import numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.ledger.chart import TRANSFER_COUPON
from wallet.ledger.rules import LINKED, Transfer
from wallet.ledger.work import Batch
from wallet.payments.extras import LIVE, Extras, left_in_budget, may_give
from wallet.payments.extras_storage import Use
from wallet.payments.rules import COUPON_NUMBER, Discount, Holder
from wallet.programmes.coupons import has_uses_left, yen_off
from wallet.programmes.rules import Shop, refusal_of


def find_discount(
    extras: Extras, holder: Holder, *, price_yen: int, shop: Shop, batch: Batch
) -> Discount | None:
    """Return what the coupon that a wallet has chosen takes off a price, None where it does not.

    A coupon that does not fit stays chosen, for a payment that it fits.
    """
    chosen = extras.coupons.get(holder.id)
    if chosen is None:
        return None
    programme, coupon = chosen
    off_yen = yen_off(coupon, price_yen=price_yen, shop=shop, day=extras.day)
    if (
        not off_yen
        or programme.state != LIVE
        or off_yen > left_in_budget(programme, batch)
        or not may_give(programme, batch)
        or refusal_of(programme, shop=shop, day=extras.day) is not None
        or not _has_uses_left(extras, holder)
    ):
        return None
    return Discount(coupon.key(programme.code), off_yen)


def _has_uses_left(extras: Extras, holder: Holder) -> bool:
    programme, coupon = extras.coupons[holder.id]
    key = coupon.key(programme.code)
    return has_uses_left(
        coupon,
        uses=extras.totals.get((holder.owner_id, key, "")).uses,
        uses_in_all=extras.totals.get((programme.id, key, "")).uses,
    )


def pay_discount(
    extras: Extras, discount: Discount, holder: Holder, *, payment_id: UUID, payable_id: UUID
) -> Transfer:
    """Return the linked transfer that pays the shop what the coupon takes off."""
    programme = extras.coupons[holder.id][0]
    return Transfer(
        numbered_id(payment_id, COUPON_NUMBER),
        programme.budget_account_id,
        payable_id,
        discount.amount_yen,
        LEDGER_JPY,
        TRANSFER_COUPON,
        LINKED,
        user_data_128=payment_id,
        user_data_32=programme.number,
    )


def note_use(extras: Extras, discount: Discount, holder: Holder, *, payment_id: UUID) -> None:
    """Have a coupon that was used written down; it is chosen no more."""
    programme, coupon = extras.coupons.pop(holder.id)
    extras.new_uses.append(
        Use(
            payment_id,
            programme.id,
            discount.coupon,
            holder.id,
            holder.owner_id,
            discount.amount_yen,
        )
    )
    if coupon.per_person is not None:
        extras.totals.add((holder.owner_id, discount.coupon, ""), discount.amount_yen)
    if coupon.first is not None:
        extras.totals.add((programme.id, discount.coupon, ""), discount.amount_yen)

"""The pure part of buying: who may reserve how many units of what is on sale, and for how long.

Amounts are yen, moments are microseconds since the epoch. A unit is a set of the programme's frame.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.clock import MICROSECONDS, to_microseconds
from wallet.core.refusals import Refusal
from wallet.receipts.rules import SHORTEST_GRACE_US
from wallet.vouchers.campaigns_rules import end_of

_TIERS: Final = ("T0", "T1", "T2", "T3")


class ReserveRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Units to keep for a wallet until they are paid for; asked for by ``person_id``.

    ``application_id`` is the application whose win is taken up, None where the first come buy.
    ``idempotency_key`` is the caller's, and makes a repeat a repeat.
    """

    purchase_id: UUID
    person_id: UUID
    wallet_id: UUID
    programme: str
    units: int
    idempotency_key: str
    application_id: UUID | None = None


class Stock(msgspec.Struct, gc=False):
    """What is on sale of a programme; the two counters change as a batch decides.

    ``min_tier`` and ``residents_only`` are of the holder, who need not be the one who buys.
    """

    programme_id: UUID
    mode: str
    units_total: int
    units_reserved: int
    units_sold: int
    opens_us: int
    closes_us: int
    pay_within_s: int
    min_tier: str
    residents_only: bool

    @property
    def units_left(self) -> int:
        """What nobody has reserved or bought."""
        return self.units_total - self.units_reserved - self.units_sold


class Holder(msgspec.Struct, gc=False):
    """The wallet that shall have the vouchers: who holds it, and what is in it or reserved."""

    person_id: UUID | None
    tier: str
    resident: bool | None
    held_yen: int


class Offer(msgspec.Struct, gc=False):
    """What a drawn application may buy; ``units_bought`` changes as a batch decides."""

    application_id: UUID
    round: int
    frame: str
    wallet_id: UUID | None
    person_id: UUID | None
    units: int
    units_bought: int
    state: str
    deadline_us: int | None


def check_sale(stock: Stock, *, now_us: int) -> Refusal | None:
    """Refuse before the sale has begun and after it is over."""
    if now_us < stock.opens_us:
        return Refusal("sale_not_open")
    return Refusal("sale_over") if now_us >= stock.closes_us else None


def check_holder(stock: Stock, holder: Holder) -> Refusal | None:
    """Refuse whoever is not known well enough for this sale, or does not live here."""
    if _TIERS.index(holder.tier) < _TIERS.index(stock.min_tier):
        return Refusal("tier_too_low", {"tier": stock.min_tier})
    if stock.residents_only and holder.resident is not True:
        return Refusal("residents_only")
    return None


def check_offer(
    offer: Offer | None, request: ReserveRequest, holder: Holder, *, now_us: int
) -> Refusal | None:
    """Refuse what was not won, was won by somebody else, is too much, or comes too late."""
    if offer is None or not _is_of(offer, request, holder):
        return Refusal("offer_unknown")
    # Before a winner was told there is no deadline, and nothing to buy.
    if offer.state == "lapsed" or offer.deadline_us is None or now_us >= offer.deadline_us:
        return Refusal("offer_over")
    left_units = offer.units - offer.units_bought
    if request.units > left_units:
        return Refusal("offer_exceeded", {"left_units": left_units})
    return None


def check_limits(
    request: ReserveRequest,
    holder: Holder,
    *,
    face_yen: int,
    units_held: int,
    units_per_person: int,
    balance_yen_max: int,
) -> Refusal | None:
    """Refuse more than one person may have, in units or in money.

    ``units_held`` are issued or reserved already; ``balance_yen_max`` is the tier's.
    """
    left_units = max(0, units_per_person - units_held)
    if request.units > left_units:
        facts = {"units_per_person": units_per_person, "left_units": left_units}
        return Refusal("units_per_person_exceeded", facts)
    left_yen = max(0, balance_yen_max - holder.held_yen)
    if face_yen > left_yen:
        return Refusal("balance_limit", {"left_yen": left_yen})
    return None


def check_stock(stock: Stock, *, units: int) -> Refusal | None:
    """Refuse more than there is; what others have reserved may come back."""
    if units <= stock.units_left:
        return None
    facts = {"left_units": stock.units_left}
    # Nothing is gone for good while somebody may still let a reservation lapse.
    return Refusal("sold_out", {**facts, "may_return": stock.units_reserved > 0})


def deadline_of(stock: Stock, offer: Offer | None, *, last_day: date, now_us: int) -> int:
    """Return until when the units are kept: what the sale grants, and no longer than the offer.

    After the programme's ``last_day`` nothing is issued, so money must have been reported by then.
    """
    last_us = stock.closes_us
    if offer is not None and offer.deadline_us is not None:
        last_us = offer.deadline_us
    last_us = min(last_us, to_microseconds(end_of(last_day)) - SHORTEST_GRACE_US)
    return min(now_us + stock.pay_within_s * MICROSECONDS, last_us)


def shares_of(
    parts: Sequence[tuple[UUID, int]], *, programme_id: UUID, units: int, price_yen: int
) -> list[tuple[UUID, int]]:
    """Return which programmes the price of ``units`` is for, and how much of it is for each.

    ``parts`` are a frame's (programme, paid yen of one unit); none: all is for the programme.
    """
    if not parts:
        return [(programme_id, price_yen)]
    return [(part_id, paid_yen * units) for part_id, paid_yen in parts if paid_yen]


def _is_of(offer: Offer, request: ReserveRequest, holder: Holder) -> bool:
    """Whether an offer is for this programme and this wallet.

    Somebody who has applied on paper has named no wallet; theirs is whichever they hold.
    """
    if offer.frame != request.programme:
        return False
    if offer.wallet_id is not None:
        return offer.wallet_id == request.wallet_id
    return offer.person_id is not None and offer.person_id == holder.person_id

"""What a programme allows: who may be paid with its money, when, and in what order it is drawn.

Pure: terms, purses, a shop and a Japanese day go in; eligibility and draws come out.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final
from uuid import UUID

import msgspec

from wallet.programmes.basics import Frame, Funding, Part, Shop, Spending
from wallet.programmes.terms import Terms

__all__ = [
    "SCHEDULED",
    "Draw",
    "Frame",
    "Funding",
    "Part",
    "Programme",
    "Purse",
    "Shop",
    "Spending",
    "draw",
    "in_spending_order",
    "refusal_of",
]


SCHEDULED: Final = "scheduled"
"""The state of a programme that is approved and not there yet: its money is not given out."""

_PAID_FIRST: Final[Mapping[str, int]] = {Funding.PAID: 0, Funding.PREMIUM: 1, Funding.FREE: 2}
_PREMIUM_FIRST: Final[Mapping[str, int]] = {Funding.PREMIUM: 0, Funding.PAID: 1, Funding.FREE: 2}


class Programme(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of money with rules. ``number`` marks its transfers in the ledger.

    ``state`` is scheduled, live, ended or settled: what is scheduled cannot be issued yet. What
    may be spent until when its ``spending`` says, whatever the state, for the state may be late.
    """

    id: UUID
    number: int
    code: str
    name: str
    version: int
    terms: Terms
    spending: Spending
    frame: Frame | None
    clearing_account_id: UUID
    budget_account_id: UUID
    state: str = "live"

    @property
    def is_discreet(self) -> bool:
        """Whether shops are not told which money this is: who gets a benefit is nobody's business.

        What they are told besides, they need: that they are paid, and by whose money in law.
        """
        return self.terms.kind == "benefit"

    @property
    def restriction(self) -> int:
        """How narrow the programme is; money with fewer places to go is spent first."""
        spending = self.spending
        return (
            8 * bool(spending.shop_ids)
            + 4 * bool(spending.categories)
            + 2 * (spending.shops == "small")
            + bool(spending.excluded_categories)
        )


class Purse(msgspec.Struct, frozen=True, gc=False):
    """One account of a wallet; ``expires_on`` is its last good day in Japan."""

    account_id: UUID
    programme_id: UUID
    funding: str
    expires_on: date


class Draw(msgspec.Struct, frozen=True, gc=False):
    """``amount_yen`` taken from one purse."""

    purse: Purse
    amount_yen: int


def refusal_of(
    programme: Programme, *, shop: Shop, day: date, until: date | None = None
) -> str | None:
    """Return why this shop may not be paid with the programme's money on ``day``, or None.

    ``until`` is the last day of the very money that is to be spent. It counts, where it is known,
    and not the programme's: it was put off, or money was given back after the programme's last day.
    """
    spending = programme.spending
    if not spending.first_day <= day <= (until or spending.last_day):
        return "outside_period"
    eligible = (
        (spending.shops == "all" or shop.small)
        and shop.category not in spending.excluded_categories
        and (not spending.categories or shop.category in spending.categories)
        and (not spending.shop_ids or shop.id in spending.shop_ids)
    )
    return None if eligible else "merchant_not_eligible"


def in_spending_order(purses: Iterable[Purse], programmes: Mapping[UUID, Programme]) -> list[Purse]:
    """Return the purses as they are drawn on.

    Most restricted first, then first to expire, then the older programme, then paid before
    premium (or the reverse where the programme says so) before free.
    """

    def rank(purse: Purse) -> tuple[int, date, int, int]:
        programme = programmes[purse.programme_id]
        fundings = _PREMIUM_FIRST if programme.spending.premium_first else _PAID_FIRST
        funding = fundings[purse.funding]
        return (-programme.restriction, purse.expires_on, programme.number, funding)

    return sorted(purses, key=rank)


def draw(
    purses: Iterable[tuple[Purse, int]],
    *,
    amount_yen: int,
    most_yen: Mapping[UUID, int] | None = None,
) -> list[Draw]:
    """Take ``amount_yen`` from (purse, available) pairs in their order; short if they run out.

    ``most_yen`` is how much may be taken of the programmes that are capped.
    """
    draws: list[Draw] = []
    left = dict(most_yen) if most_yen else None
    missing = amount_yen
    for purse, available_yen in purses:
        taken = min(available_yen, missing)
        if left is not None and purse.programme_id in left:
            taken = min(taken, left[purse.programme_id])
            left[purse.programme_id] -= taken
        if taken > 0:
            draws.append(Draw(purse, taken))
            missing -= taken
        if missing == 0:
            break
    return draws

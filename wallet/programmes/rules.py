"""What a programme allows: who may be paid with its money, when, and in what order it is drawn.

Pure: terms, purses, a shop and a Japanese day go in; eligibility and draws come out.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

import msgspec


class Funding(StrEnum):
    """Who paid for the money in a purse; the classes never mix."""

    PAID = "paid"
    PREMIUM = "premium"
    FREE = "free"


_PAID_FIRST: Final[Mapping[str, int]] = {Funding.PAID: 0, Funding.PREMIUM: 1, Funding.FREE: 2}
_PREMIUM_FIRST: Final[Mapping[str, int]] = {Funding.PREMIUM: 0, Funding.PAID: 1, Funding.FREE: 2}


class Spending(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and when a programme's money may be spent.

    ``first_day`` and ``last_day`` are Japanese calendar days, both included: money is good until
    23:59:59 on the last one. An empty ``categories`` or ``shop_ids`` restricts nothing.
    """

    first_day: date
    last_day: date
    shops: Literal["all", "small"] = "all"
    categories: frozenset[str] = frozenset()
    excluded_categories: frozenset[str] = frozenset()
    shop_ids: frozenset[UUID] = frozenset()
    premium_first: bool = False


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one set of a voucher costs and is worth, in yen, and how many there are."""

    price_yen: int
    face_yen: int
    sets_total: int
    sets_per_person: int


class Programme(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of money with rules. ``number`` marks its transfers in the ledger."""

    id: UUID
    number: int
    code: str
    name: str
    version: int
    spending: Spending
    frame: Frame | None
    clearing_account_id: UUID
    budget_account_id: UUID

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


class Shop(msgspec.Struct, frozen=True, gc=False):
    """The facts of a shop that programmes look at."""

    id: UUID
    category: str
    small: bool


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


def refusal_of(programme: Programme, *, shop: Shop, day: date) -> str | None:
    """Return why this shop may not be paid with the programme's money on ``day``, or None."""
    spending = programme.spending
    if not spending.first_day <= day <= spending.last_day:
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


def draw(purses: Iterable[tuple[Purse, int]], *, amount_yen: int) -> list[Draw]:
    """Take ``amount_yen`` from (purse, available) pairs in their order; short if they run out."""
    draws: list[Draw] = []
    missing = amount_yen
    for purse, available_yen in purses:
        taken = min(available_yen, missing)
        if taken > 0:
            draws.append(Draw(purse, taken))
            missing -= taken
        if missing == 0:
            break
    return draws

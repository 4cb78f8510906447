"""What programmes are spoken of in: who paid, where money goes, what a set is, what a shop is."""

import re
from datetime import date
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

import msgspec

from wallet.core.scrub import contains_personal

_CODE: Final = re.compile(r"[a-z0-9-]{1,64}")


def is_code(text: str) -> bool:
    """Whether a programme, campaign, list, bonus or coupon may be named so.

    Such names stand in the audit trail, so none looks like a telephone number or a My Number.
    """
    return _CODE.fullmatch(text) is not None and not contains_personal(text)


class Funding(StrEnum):
    """Who paid for the money in a purse; the classes never mix."""

    PAID = "paid"
    PREMIUM = "premium"
    FREE = "free"


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


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What of one set becomes money of the companion ``programme``, in yen."""

    programme: str
    paid_yen: int
    premium_yen: int = 0


class Frame(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What one set of a voucher costs and is worth, in yen, and how many there are.

    ``parts`` are the classes of purses a set is made of, each a programme of its own: their paid
    money makes the price and their premium the rest of the face value. Empty, all is in this one.
    """

    price_yen: int
    face_yen: int
    sets_total: int
    sets_per_person: int
    parts: tuple[Part, ...] = ()


class Shop(msgspec.Struct, frozen=True, gc=False):
    """The facts of a shop that programmes look at."""

    id: UUID
    category: str
    small: bool
    chain: bool = False

"""Coupons: what a programme's budget takes off a price, for those who want to use one.

A coupon is a part of the terms of the programme that bears it. Pure: a coupon, a price, a shop and
a day go in; yen come out.
"""

import re
from collections.abc import Sequence
from datetime import date
from typing import Final, Literal
from uuid import UUID

import msgspec

from wallet.programmes.basics import Shop, is_code

ENTRY_CODE_FORMAT: Final = re.compile(r"[A-Z0-9]{4,32}")


class Coupon(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """A coupon: ``off_yen``, or ``percent`` of the price up to ``ceiling_yen``.

    Fractions of a yen are dropped, and at least one yen is left to pay. ``per_person`` and
    ``first`` are how often it may be used, by one person and in all; None does not limit it. With
    an ``entry_code`` only those see it who type the code in. What is left out restricts nothing.
    """

    code: str
    name: str
    off_yen: int = 0
    percent: int = 0
    ceiling_yen: int | None = None
    minimum_yen: int = 1
    first_day: date | None = None
    last_day: date | None = None
    shops: Literal["all", "small"] = "all"
    categories: frozenset[str] = frozenset()
    shop_ids: frozenset[UUID] = frozenset()
    per_person: int | None = 1
    first: int | None = None
    entry_code: str | None = None

    def key(self, programme: str) -> str:
        """Return the name of the coupon among those of all programmes, of which it is one's."""
        return f"{programme}:{self.code}"


def is_open(coupon: Coupon, *, day: date) -> bool:
    """Whether the coupon may be used on ``day``."""
    first_day, last_day = coupon.first_day or day, coupon.last_day or day
    return first_day <= day <= last_day


def yen_off(coupon: Coupon, *, price_yen: int, shop: Shop, day: date) -> int:
    """Return what the coupon takes off a price in this shop on ``day``; 0 where it is not good."""
    if (
        not is_open(coupon, day=day)
        or price_yen < coupon.minimum_yen
        or (coupon.shops == "small" and not shop.small)
        or (coupon.categories and shop.category not in coupon.categories)
        or (coupon.shop_ids and shop.id not in coupon.shop_ids)
    ):
        return 0
    off_yen = coupon.off_yen or price_yen * coupon.percent // 100
    if coupon.ceiling_yen is not None:
        off_yen = min(off_yen, coupon.ceiling_yen)
    return min(off_yen, price_yen - 1)


def has_uses_left(coupon: Coupon, *, uses: int, uses_in_all: int) -> bool:
    """Whether somebody who has used it ``uses`` times may use it once more."""
    if coupon.per_person is not None and uses >= coupon.per_person:
        return False
    return coupon.first is None or uses_in_all < coupon.first


def problems_of_coupons(coupons: Sequence[Coupon]) -> list[str]:
    """Return what is wrong with a programme's coupons, one sentence for each problem."""
    codes = [coupon.code for coupon in coupons]
    problems = [
        f"coupons: two have the code {code!r}."
        for code in sorted({code for code in codes if codes.count(code) > 1})
    ]
    for coupon in coupons:
        problems += [f"coupons.{coupon.code}.{problem}" for problem in _problems(coupon)]
    return problems


def _problems(coupon: Coupon) -> list[str]:
    problems = []
    if not is_code(coupon.code):
        problems.append("code: use 1 to 64 small letters, digits and hyphens.")
    if (coupon.off_yen > 0) == (coupon.percent > 0):
        problems.append("off_yen: write one of off_yen and percent.")
    if coupon.off_yen < 0 or not 0 <= coupon.percent <= 100:  # noqa: PLR2004 - percent
        problems.append("percent: use 0 to 100, and no negative yen.")
    if coupon.ceiling_yen is not None and coupon.ceiling_yen < 1:
        problems.append("ceiling_yen: at least 1 yen.")
    if coupon.first_day and coupon.last_day and coupon.last_day < coupon.first_day:
        problems.append(f"last_day: {coupon.last_day} is before first_day {coupon.first_day}.")
    if any(uses is not None and uses < 1 for uses in (coupon.per_person, coupon.first)):
        problems.append("per_person: it and first are at least 1.")
    if coupon.entry_code is not None and not ENTRY_CODE_FORMAT.fullmatch(coupon.entry_code):
        problems.append("entry_code: use 4 to 32 capital letters and digits.")
    return problems

"""Bonuses: what a programme gives for money that was spent or charged, or for a civic event.

A bonus is a part of the terms of the programme whose money is spent. It is paid out of the budget
of its ``target`` programme, the same one by default, into a purse of free money. Pure: a bonus, an
amount, a shop and a moment go in; yen come out.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from typing import Final, Literal, Protocol, TypeVar
from uuid import UUID

import msgspec

from wallet.programmes.basics import Funding, Shop, is_code

BONUSES_MAX: Final = 2
"""Bonuses that one payment can bring."""

VESTS_AFTER_DAYS_MAX: Final = 366

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Event = Literal["payment", "charge", "civic"]


class _Part(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What all parts of a bonus are: data that names everything it holds."""


class Band(_Part, frozen=True):
    """From ``from_yen`` on the bonus is ``bonus_yen``, until a higher band is reached."""

    from_yen: int
    bonus_yen: int


class Every(_Part, frozen=True):
    """For every full ``yen`` there are ``bonus_yen``: one point for 200 yen is 0.5 %."""

    yen: int
    bonus_yen: int


class BySize(_Part, frozen=True):
    """Percent by the size of the shop: small ones, those of a chain, all other ones."""

    small: int = 0
    chain: int = 0
    large: int = 0


class Hours(_Part, frozen=True):
    """A part of the day in Japan: from ``start`` to just before ``end``, over midnight or not."""

    start: time
    end: time


class Bonus(_Part, frozen=True):
    """A bonus; how much it is says exactly one of percent, percent_by_size, every, and bands.

    Fractions of a yen are dropped. What is left out restricts nothing: days and hours are Japan's,
    ``weekdays`` empty is all of them, ``fundings`` empty counts whatever was paid with. Caps are
    yen of bonus: in one payment, for one person in a calendar month, for one person in all. What
    the budget does not cover is not given. ``vests_after_days`` later it can be spent; until then
    it is set aside. An ``exclusive`` bonus comes alone; the highest ``priority`` is taken first.
    """

    code: str
    on: Event = "payment"
    percent: int = 0
    percent_by_size: BySize | None = None
    every: Every | None = None
    bands: tuple[Band, ...] = ()
    minimum_yen: int = 0
    first_day: date | None = None
    last_day: date | None = None
    weekdays: frozenset[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = frozenset()
    hours: Hours | None = None
    shops: Literal["all", "small"] = "all"
    categories: frozenset[str] = frozenset()
    excluded_categories: frozenset[str] = frozenset()
    shop_ids: frozenset[UUID] = frozenset()
    fundings: frozenset[Funding] = frozenset()
    payment_cap_yen: int | None = None
    month_cap_yen: int | None = None
    total_cap_yen: int | None = None
    target: str | None = None
    bearer: str = "city"
    vests_after_days: int = 0
    exclusive: bool = False
    priority: int = 0


def is_due(bonus: Bonus, *, on: Event, at: datetime) -> bool:
    """Whether an event at ``at``, Japanese time, may bring the bonus, as far as time tells."""
    if bonus.on != on:
        return False
    day = at.date()
    if (bonus.first_day and day < bonus.first_day) or (bonus.last_day and day > bonus.last_day):
        return False
    if bonus.weekdays and WEEKDAYS[day.weekday()] not in bonus.weekdays:
        return False
    hours = bonus.hours
    if hours is None:
        return True
    clock = at.time()
    if hours.start < hours.end:
        return hours.start <= clock < hours.end
    return clock >= hours.start or clock < hours.end


def is_given_at(bonus: Bonus, shop: Shop) -> bool:
    """Whether money spent in this shop may bring the bonus."""
    return (
        (bonus.shops == "all" or shop.small)
        and shop.category not in bonus.excluded_categories
        and (not bonus.categories or shop.category in bonus.categories)
        and (not bonus.shop_ids or shop.id in bonus.shop_ids)
    )


def yen_of(bonus: Bonus, *, base_yen: int, shop: Shop | None = None) -> int:
    """Return the bonus on ``base_yen``, before the caps of a person and what the budget has left.

    ``shop`` is where the money was spent; None where it was not, and then size tells nothing.
    """
    if base_yen < bonus.minimum_yen or (shop is not None and not is_given_at(bonus, shop)):
        return 0
    if bonus.every is not None:
        yen = base_yen // bonus.every.yen * bonus.every.bonus_yen
    elif bonus.bands:
        reached = [band for band in bonus.bands if base_yen >= band.from_yen]
        yen = max(reached, key=lambda band: band.from_yen).bonus_yen if reached else 0
    else:
        yen = base_yen * _percent(bonus, shop) // 100
    return yen if bonus.payment_cap_yen is None else min(yen, bonus.payment_cap_yen)


def _percent(bonus: Bonus, shop: Shop | None) -> int:
    sizes = bonus.percent_by_size
    if sizes is None:
        return bonus.percent
    if shop is None:
        return 0
    if shop.small:
        return sizes.small
    return sizes.chain if shop.chain else sizes.large


def most_of(bonus: Bonus, *, base_yen: int) -> int:
    """Return a bound of the bonus on ``base_yen`` or less, whatever the shop."""
    sizes = bonus.percent_by_size
    percent = max(sizes.small, sizes.chain, sizes.large) if sizes else bonus.percent
    yen = base_yen * percent // 100
    if bonus.every is not None:
        yen = base_yen // bonus.every.yen * bonus.every.bonus_yen
    elif bonus.bands:
        yen = max(band.bonus_yen for band in bonus.bands)
    return yen if bonus.payment_cap_yen is None else min(yen, bonus.payment_cap_yen)


def caps_of(bonus: Bonus, day: date) -> tuple[tuple[str, int], ...]:
    """Return the periods that a person's bonus is capped in, and the most yen in each.

    A month is named like ``2026-11``, and all of the time by nothing.
    """
    caps = ((f"{day:%Y-%m}", bonus.month_cap_yen), ("", bonus.total_cap_yen))
    return tuple((period, cap_yen) for period, cap_yen in caps if cap_yen is not None)


Given = TypeVar("Given", bound="Offered")


class Offered(Protocol):
    """A bonus that something may bring, in whatever its reader keeps it."""

    @property
    def bonus(self) -> Bonus:
        """The bonus."""


def choose(offers: Sequence[Given], yen_left: Callable[[Given], int]) -> list[tuple[Given, int]]:
    """Return which of the offers are given together, and how much of each.

    Those of the highest priority first, as they are written where it is the same. ``yen_left``
    says how much there is of one under every cap; it is asked once for each that may be given, and
    what it has answered is given, if it is anything.
    """
    if len(offers) > 1:
        offers = sorted(offers, key=lambda one: -one.bonus.priority)
    chosen: list[tuple[Given, int]] = []
    for offer in offers:
        if chosen and offer.bonus.exclusive:
            continue
        yen = yen_left(offer)
        if yen > 0:
            chosen.append((offer, yen))
            if offer.bonus.exclusive or len(chosen) == BONUSES_MAX:
                break
    return chosen


def problems_of_bonuses(bonuses: Sequence[Bonus]) -> list[str]:
    """Return what is wrong with a programme's bonuses, one sentence for each problem."""
    codes = [bonus.code for bonus in bonuses]
    problems = [f"bonuses: two have the code {code!r}." for code in _repeated(codes)]
    for bonus in bonuses:
        at = f"bonuses.{bonus.code}"
        problems += [f"{at}.{problem}" for problem in _form_problems(bonus) + _when_problems(bonus)]
    return problems


def _repeated(codes: Sequence[str]) -> list[str]:
    return sorted({code for code in codes if codes.count(code) > 1})


def _form_problems(bonus: Bonus) -> list[str]:
    sizes = bonus.percent_by_size
    forms = (bonus.percent > 0, sizes is not None, bonus.every is not None, bool(bonus.bands))
    problems = []
    if not is_code(bonus.code):
        problems.append("code: use 1 to 64 small letters, digits and hyphens.")
    if sum(forms) != 1:
        problems.append("percent: write one of percent, percent_by_size, every and bands.")
    percents = [bonus.percent, *((sizes.small, sizes.chain, sizes.large) if sizes else ())]
    if not all(0 <= percent <= 100 for percent in percents):  # noqa: PLR2004 - percent
        problems.append("percent: use 0 to 100.")
    if sizes is not None and bonus.on != "payment":
        problems.append("percent_by_size: only a payment has a shop.")
    if bonus.every is not None and (bonus.every.yen < 1 or bonus.every.bonus_yen < 1):
        problems.append("every: use 1 yen or more.")
    if any(band.from_yen < 0 or band.bonus_yen < 0 for band in bonus.bands):
        problems.append("bands: use 0 yen or more.")
    if len({band.from_yen for band in bonus.bands}) < len(bonus.bands):
        problems.append("bands: two begin at the same yen.")
    return problems


def _when_problems(bonus: Bonus) -> list[str]:
    problems = []
    if bonus.first_day and bonus.last_day and bonus.last_day < bonus.first_day:
        problems.append(f"last_day: {bonus.last_day} is before first_day {bonus.first_day}.")
    if bonus.hours is not None and bonus.hours.start == bonus.hours.end:
        problems.append("hours: they end when they begin; leave them out for the whole day.")
    if not 0 <= bonus.vests_after_days <= VESTS_AFTER_DAYS_MAX:
        problems.append(f"vests_after_days: use 0 to {VESTS_AFTER_DAYS_MAX}.")
    caps = (bonus.payment_cap_yen, bonus.month_cap_yen, bonus.total_cap_yen)
    if bonus.minimum_yen < 0 or any(cap is not None and cap < 0 for cap in caps):
        problems.append("minimum_yen: it and the caps are 0 yen or more.")
    return problems

"""A programme's terms as people write them down and as they are stored.

Everything but the name and the spending may be left out; what is left out restricts nothing, and
is not stored, so terms of an earlier release stay as they are. Amounts are yen, days are Japanese
calendar days.
"""

from calendar import monthrange
from datetime import date
from enum import StrEnum
from typing import Final, Literal

import msgspec

from wallet.programmes.basics import Frame, Spending
from wallet.programmes.bonus import Bonus
from wallet.programmes.coupons import Coupon

_APRIL: Final = 4
"""The month in which a fiscal year begins."""


class IssuerKind(StrEnum):
    """Who issues the money; the law on prepaid instruments asks most of a company."""

    CITY = "city"
    DESIGNATED_CORP = "designated_corp"
    COMPANY = "company"


class Kind(StrEnum):
    """What sort of money it is, for people and for the law."""

    VOUCHER = "voucher"
    COIN = "coin"
    POINTS = "points"
    BENEFIT = "benefit"
    PASS = "pass"  # noqa: S105 - what a visitor holds, and no password


class _Part(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What all parts of the terms are: data that names everything it holds."""


class Eligibility(_Part, frozen=True):
    """Who may apply or receive; None asks nothing.

    Ages are in years, both included, on the day of asking. ``list`` is the code of a roster.
    """

    resident: bool | None = None
    min_age: int | None = None
    max_age: int | None = None
    children_min: int = 0
    list: str | None = None


class Share(_Part, frozen=True):
    """The part of what is added that ``bearer`` pays for; all shares make 100."""

    bearer: str
    percent: int


class Expiry(_Part, frozen=True):
    """Until when money is good that is issued on a day; never beyond ``spending.last_day``.

    ``fixed``: the programme's last day. ``months_after_issue``: ``months`` later, to the end of
    that month with ``month_end``. ``after_last_use``: the same, counted anew from each use.
    ``fiscal_year``: 31 March, of the fiscal year of the issue or ``years`` after it.
    """

    rule: Literal["fixed", "months_after_issue", "after_last_use", "fiscal_year"] = "fixed"
    months: int = 0
    month_end: bool = True
    years: int = 0


class Caps(_Part, frozen=True):
    """The most of this money in one payment, in a day, and in one wallet; None: no such cap.

    ``balance_yen`` bounds what holders add by themselves; what the city gives them for free has
    bounds of its own, and is never lost for want of room.
    """

    payment_yen: int | None = None
    day_yen: int | None = None
    balance_yen: int | None = None


class Gifts(_Part, frozen=True):
    """Whether holders may give paid money to each other, and how much; None: the general limit."""

    allowed: bool = False
    transfer_max_yen: int | None = None
    month_max_yen: int | None = None


class Refunds(_Part, frozen=True):
    """What becomes of a refund whose purse has expired.

    ``budget``: it falls to the city. ``extend_days``: it is good for ``extend_days`` more days.
    ``refuse``: there is none.
    """

    to_expired: Literal["budget", "extend_days", "refuse"] = "budget"
    extend_days: int = 0


class Exchange(_Part, frozen=True):
    """A programme that this money may become, and how much of it: ``times`` / ``per``, floored."""

    to: str
    times: int = 1
    per: int = 1


class Article13(_Part, frozen=True):
    """What Art. 13 of the Payment Services Act has a prepaid instrument say."""

    name: str = ""
    amount: str = ""
    period: str = ""
    desk: str = ""
    others: str = ""


class Terms(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """A programme's terms.

    ``funding_split`` is who bears what is added; none says the city alone. ``confirmed`` names the
    settings of the legal check whose numbers somebody has looked up and confirmed.
    """

    name: str
    spending: Spending
    frame: Frame | None = None
    issuer_kind: IssuerKind = IssuerKind.CITY
    kind: Kind = Kind.VOUCHER
    unit: str = "JPY"
    eligibility: Eligibility = Eligibility()
    funding_split: tuple[Share, ...] = ()
    expiry: Expiry = Expiry()
    caps: Caps = Caps()
    gifts: Gifts = Gifts()
    refunds: Refunds = Refunds()
    exchanges: tuple[Exchange, ...] = ()
    bonuses: tuple[Bonus, ...] = ()
    coupons: tuple[Coupon, ...] = ()
    art13: Article13 = Article13()
    confirmed: frozenset[str] = frozenset()


class ProgrammeDraft(Terms, frozen=True):
    """A programme as a clerk writes it down; the same fields in a TOML file.

    ``budget_yen`` is what the city adds in all; left out, a frame's is its premium on every set,
    as far as that is this programme's money.
    """

    code: str
    budget_yen: int | None = None

    @property
    def terms(self) -> Terms:
        """The part that is kept as the programme's terms."""
        return Terms(**{name: getattr(self, name) for name in Terms.__struct_fields__})

    @property
    def funded_yen(self) -> int:
        """What the budget is funded with."""
        if self.budget_yen is not None:
            return self.budget_yen
        frame = self.frame
        if frame is None:
            return 0
        if not frame.parts:
            return (frame.face_yen - frame.price_yen) * frame.sets_total
        own_yen = sum(part.premium_yen for part in frame.parts if part.programme == self.code)
        return own_yen * frame.sets_total


def expires_on_of(terms: Terms, issued_on: date) -> date:
    """Return the last good day of money issued on a day, or last used on it.

    ``after_last_use`` is counted from the day of the latest use, so ``issued_on`` is that day.
    """
    expiry, last_day = terms.expiry, terms.spending.last_day
    if expiry.rule == "fixed":
        return last_day
    if expiry.rule == "fiscal_year":
        year = issued_on.year + (issued_on.month >= _APRIL) + expiry.years
        return min(date(year, 3, 31), last_day)
    later = add_months(issued_on, expiry.months)
    if expiry.month_end:
        later = later.replace(day=monthrange(later.year, later.month)[1])
    return min(later, last_day)


def add_months(day: date, months: int) -> date:
    """Return the same day ``months`` later, or that month's last day where there is no such day.

    A period counted from a day that has begun ends on it: the Civil Code, Art. 140 and 143.
    """
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))

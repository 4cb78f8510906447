"""What is wrong with a programme's draft, in sentences that begin with the field.

Pure. This is about what a programme can be at all; what the law says of it is in
:mod:`wallet.programmes.legal`.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import date
from difflib import get_close_matches
from typing import Final

from wallet.core.money import AMOUNT_YEN_MAX
from wallet.programmes.basics import is_code
from wallet.programmes.bonus import problems_of_bonuses
from wallet.programmes.coupons import problems_of_coupons
from wallet.programmes.rules import Frame, Part, Spending
from wallet.programmes.terms import Expiry, ProgrammeDraft, Refunds, Share, Terms

NAME_CHARACTERS_MAX: Final = 80
TEXT_CHARACTERS_MAX: Final = 500
MONTHS_MAX: Final = 120
DAYS_MAX: Final = 3_660
AGE_MAX: Final = 150
PARTS_MAX: Final = 7
"""Each part is two transfers, and an issue's id has room for fifteen."""
_ALL_PERCENT: Final = 100
_DAYS: Final = (date(2000, 1, 1), date(2199, 12, 31))


def problems_of(draft: ProgrammeDraft, *, known_categories: Collection[str] = ()) -> list[str]:
    """Return what is wrong with a draft, one sentence for each problem; none is good."""
    spending = draft.spending
    problems = []
    if not is_code(draft.code):
        problems.append(
            "code: use 1 to 64 small letters, digits and hyphens, unlike any telephone number."
        )
    if not 1 <= len(draft.name.strip()) <= NAME_CHARACTERS_MAX:
        problems.append(f"name: use 1 to {NAME_CHARACTERS_MAX} characters.")
    if spending.last_day < spending.first_day:
        problems.append(
            f"spending.last_day: {spending.last_day} is before first_day {spending.first_day}."
        )
    if not (_DAYS[0] <= spending.first_day and spending.last_day <= _DAYS[1]):
        problems.append(f"spending: days are from {_DAYS[0]} to {_DAYS[1]}.")
    problems += [
        f"spending: category {category!r} is both allowed and excluded."
        for category in sorted(spending.categories & spending.excluded_categories)
    ]
    problems += _unknown_categories(spending, known_categories)
    if draft.frame is not None:
        problems += _frame_problems(draft.frame)
        problems += _own_part_problems(draft.code, draft.frame.parts)
    if not 0 <= draft.funded_yen <= AMOUNT_YEN_MAX:
        problems.append(f"budget_yen: use 0 to {AMOUNT_YEN_MAX:,}.")
    problems += _who_problems(draft)
    problems += _split_problems(draft.funding_split)
    problems += _expiry_problems(draft.expiry)
    problems += _amount_problems(draft)
    problems += _refund_problems(draft.refunds)
    problems += _exchange_problems(draft)
    problems += problems_of_bonuses(draft.bonuses)
    problems += problems_of_coupons(draft.coupons)
    return problems + _text_problems(draft)


def _unknown_categories(spending: Spending, known: Collection[str]) -> list[str]:
    problems = []
    asked = spending.categories | spending.excluded_categories
    for category in sorted(asked.difference(known)) if known else ():
        similar = get_close_matches(category, known, n=1)
        hint = f" Did you mean {similar[0]!r}?" if similar else ""
        problems.append(f"spending: there is no shop category {category!r}.{hint}")
    return problems


def _frame_problems(frame: Frame) -> list[str]:
    problems = []
    if frame.price_yen <= 0:
        problems.append("frame.price_yen: a set costs at least 1 yen.")
    if frame.face_yen < frame.price_yen:
        problems.append("frame.face_yen: a set must be worth its price or more.")
    if frame.sets_per_person <= 0:
        problems.append("frame.sets_per_person: at least 1.")
    if frame.sets_total < frame.sets_per_person:
        problems.append("frame.sets_total: at least what one person may have.")
    if frame.face_yen * frame.sets_total > AMOUNT_YEN_MAX:
        problems.append(f"frame: all sets together are worth more than {AMOUNT_YEN_MAX:,} yen.")
    return problems + (_part_problems(frame, frame.parts) if frame.parts else [])


def _own_part_problems(code: str, parts: Collection[Part]) -> list[str]:
    """A programme's sets are counted by what was paid for them in the programme itself."""
    if not parts or any(part.programme == code and part.paid_yen > 0 for part in parts):
        return []
    return [f"frame.parts: one is {code!r} itself, with paid_yen above 0."]


def _part_problems(frame: Frame, parts: Collection[Part]) -> list[str]:
    problems = []
    if len(parts) > PARTS_MAX:
        problems.append(f"frame.parts: {PARTS_MAX} at most.")
    problems += [
        f"frame.parts: {code!r} is there twice."
        for code in _repeated(part.programme for part in parts)
    ]
    problems += [
        f"frame.parts: {part.programme!r} is no code of a programme."
        for part in parts
        if not is_code(part.programme)
    ]
    if any(part.paid_yen < 0 or part.premium_yen < 0 for part in parts):
        problems.append("frame.parts: 0 yen or more in each.")
    if any(part.paid_yen + part.premium_yen == 0 for part in parts):
        problems.append("frame.parts: a part without any yen is none.")
    paid_yen = sum(part.paid_yen for part in parts)
    if paid_yen != frame.price_yen:
        problems.append(f"frame.parts: paid_yen makes {paid_yen:,}, the price {frame.price_yen:,}.")
    premium_yen, added_yen = sum(p.premium_yen for p in parts), frame.face_yen - frame.price_yen
    if premium_yen != added_yen:
        problems.append(f"frame.parts: premium_yen makes {premium_yen:,}, not {added_yen:,}.")
    return problems


def _who_problems(terms: Terms) -> list[str]:
    who = terms.eligibility
    problems = []
    ages = [age for age in (who.min_age, who.max_age) if age is not None]
    if any(not 0 <= age <= AGE_MAX for age in ages):
        problems.append(f"eligibility: ages are 0 to {AGE_MAX} years.")
    if who.min_age is not None and who.max_age is not None and who.min_age > who.max_age:
        problems.append("eligibility.max_age: less than min_age.")
    if who.children_min < 0:
        problems.append("eligibility.children_min: 0 or more.")
    if who.list is not None and not is_code(who.list):
        problems.append("eligibility.list: use 1 to 64 small letters, digits and hyphens.")
    return problems


def _split_problems(shares: Collection[Share]) -> list[str]:
    problems = [
        f"funding_split: {bearer!r} is there twice."
        for bearer in _repeated(share.bearer for share in shares)
    ]
    if any(share.percent <= 0 or not share.bearer.strip() for share in shares):
        problems.append("funding_split: each share has a bearer and 1 percent or more.")
    if shares and sum(share.percent for share in shares) != _ALL_PERCENT:
        problems.append("funding_split: all shares together make 100 percent.")
    return problems


def _expiry_problems(expiry: Expiry) -> list[str]:
    counts_months = expiry.rule in {"months_after_issue", "after_last_use"}
    problems = []
    if counts_months and not 1 <= expiry.months <= MONTHS_MAX:
        problems.append(f"expiry.months: use 1 to {MONTHS_MAX} with {expiry.rule}.")
    if not counts_months and expiry.months:
        problems.append(f"expiry.months: means nothing with {expiry.rule}.")
    if expiry.rule == "fiscal_year" and not 0 <= expiry.years <= MONTHS_MAX // 12:
        problems.append(f"expiry.years: use 0 to {MONTHS_MAX // 12}.")
    if expiry.rule != "fiscal_year" and expiry.years:
        problems.append(f"expiry.years: means nothing with {expiry.rule}.")
    return problems


def _amount_problems(terms: Terms) -> Iterator[str]:
    caps, gifts = terms.caps, terms.gifts
    amounts = {
        "caps.payment_yen": caps.payment_yen,
        "caps.day_yen": caps.day_yen,
        "caps.balance_yen": caps.balance_yen,
        "gifts.transfer_max_yen": gifts.transfer_max_yen,
        "gifts.month_max_yen": gifts.month_max_yen,
    }
    for field, amount_yen in amounts.items():
        if amount_yen is not None and not 1 <= amount_yen <= AMOUNT_YEN_MAX:
            yield f"{field}: use 1 to {AMOUNT_YEN_MAX:,}, or leave it out."
    frame = terms.frame
    if frame is not None and caps.balance_yen is not None:
        most_yen = frame.face_yen * frame.sets_per_person
        if caps.balance_yen < most_yen:
            yield f"caps.balance_yen: all sets of one person are worth {most_yen:,}."
    if not gifts.allowed and (gifts.transfer_max_yen or gifts.month_max_yen):
        yield "gifts: limits mean nothing while gifts are not allowed."
    if terms.unit != "JPY":
        yield "unit: money of this ledger is in JPY."


def _refund_problems(refunds: Refunds) -> list[str]:
    extends = refunds.to_expired == "extend_days"
    if extends and not 1 <= refunds.extend_days <= DAYS_MAX:
        return [f"refunds.extend_days: use 1 to {DAYS_MAX:,}."]
    if not extends and refunds.extend_days:
        return [f"refunds.extend_days: means nothing with {refunds.to_expired}."]
    return []


def _exchange_problems(draft: ProgrammeDraft) -> Iterator[str]:
    for code in _repeated(exchange.to for exchange in draft.exchanges):
        yield f"exchanges: {code!r} is there twice."
    for exchange in draft.exchanges:
        if not is_code(exchange.to) or exchange.to == draft.code:
            yield f"exchanges.to: {exchange.to!r} is no other programme's code."
        if not (1 <= exchange.times <= AMOUNT_YEN_MAX and 1 <= exchange.per <= AMOUNT_YEN_MAX):
            yield "exchanges: times and per are 1 or more."


def _text_problems(terms: Terms) -> list[str]:
    art13 = terms.art13
    texts = {name: getattr(art13, name) for name in art13.__struct_fields__}
    return [
        f"art13.{name}: {TEXT_CHARACTERS_MAX} characters at most."
        for name, told in texts.items()
        if len(told) > TEXT_CHARACTERS_MAX
    ]


def _repeated(values: Iterable[str]) -> list[str]:
    listed = list(values)
    return sorted({value for value in listed if listed.count(value) > 1})

"""What is wrong with a draft, one sentence for each problem."""

from datetime import date

import pytest

from tests.factories.programmes import frame, free_draft, spending, voucher_draft
from wallet.core.money import AMOUNT_YEN_MAX
from wallet.programmes.problems import problems_of
from wallet.programmes.rules import Part
from wallet.programmes.terms import (
    Article13,
    Caps,
    Eligibility,
    Exchange,
    Expiry,
    Gifts,
    ProgrammeDraft,
    Refunds,
    Share,
)

GOOD = voucher_draft()


def draft(**changes: object) -> ProgrammeDraft:
    """Return a good draft with ``changes``."""
    parts = {name: getattr(GOOD, name) for name in ProgrammeDraft.__struct_fields__}
    return ProgrammeDraft(**{**parts, **changes})


def parts(*parts: Part) -> ProgrammeDraft:
    """Return a voucher whose sets are made of these."""
    return draft(frame=frame(parts=parts))


def own(**changes: int) -> Part:
    """Return a part that is all of a set in the voucher's own money, with ``changes``."""
    return Part(programme="voucher", **{"paid_yen": 5_000, "premium_yen": 1_250, **changes})


def test_a_good_draft_has_no_problems() -> None:
    assert problems_of(GOOD) == []
    assert problems_of(free_draft()) == []
    common = Part(programme="voucher", paid_yen=2_500, premium_yen=1_000)
    small = Part(programme="small", paid_yen=2_500, premium_yen=250)
    assert problems_of(parts(common, small)) == []


def test_a_budget_is_the_premium_on_every_set_as_far_as_it_is_this_programmes() -> None:
    assert GOOD.funded_yen == 1_250 * 100
    common = Part(programme="voucher", paid_yen=2_500, premium_yen=1_000)
    small = Part(programme="small", paid_yen=2_500, premium_yen=250)
    assert parts(common, small).funded_yen == 1_000 * 100
    assert parts(small, Part(programme="b", paid_yen=2_500, premium_yen=1_000)).funded_yen == 0
    assert free_draft(budget_yen=7).funded_yen == 7


@pytest.mark.asvs("v5.0.0-2.2.3")
@pytest.mark.parametrize(
    ("wrong", "start"),
    [
        (draft(code="Spring 2026"), "code:"),
        (draft(code=""), "code:"),
        (draft(code="090-1234-5678"), "code:"),
        (draft(name="  "), "name:"),
        (draft(name="券" * 81), "name:"),
        (draft(spending=spending(last_day=date(2025, 12, 31))), "spending.last_day: 2025-12-31"),
        (
            draft(
                spending=spending(
                    categories=frozenset({"cafe"}), excluded_categories=frozenset({"cafe"})
                )
            ),
            "spending: category 'cafe' is both allowed and excluded.",
        ),
        (draft(frame=frame(price_yen=0), budget_yen=0), "frame.price_yen:"),
        (draft(frame=frame(face_yen=4_999), budget_yen=0), "frame.face_yen:"),
        (draft(frame=frame(sets_per_person=0)), "frame.sets_per_person:"),
        (draft(frame=frame(sets_total=9)), "frame.sets_total:"),
        (draft(frame=frame(sets_total=AMOUNT_YEN_MAX // 6_250 + 1), budget_yen=0), "frame: all"),
        (draft(spending=spending(last_day=date(2200, 1, 1))), "spending: days are from"),
        (parts(own(paid_yen=4_999)), "frame.parts: paid_yen makes 4,999"),
        (parts(own(premium_yen=1_251)), "frame.parts: premium_yen makes 1,251"),
        (
            parts(*[own(paid_yen=2_500, premium_yen=625)] * 2),
            "frame.parts: 'voucher' is there twice.",
        ),
        (
            parts(own(paid_yen=4_999), Part(programme="A", paid_yen=1)),
            "frame.parts: 'A' is no code",
        ),
        (
            parts(own(paid_yen=6_000), Part(programme="b", paid_yen=-1_000)),
            "frame.parts: 0 yen or more",
        ),
        (parts(own(), Part(programme="b", paid_yen=0)), "frame.parts: a part without any yen"),
        (
            parts(
                own(paid_yen=4_993),
                *(Part(programme=f"a{n}", paid_yen=1) for n in range(7)),
            ),
            "frame.parts: 7 at most.",
        ),
        (
            parts(Part(programme="b", paid_yen=5_000, premium_yen=1_250)),
            "frame.parts: one is 'voucher' itself",
        ),
        (draft(eligibility=Eligibility(min_age=-1)), "eligibility: ages"),
        (draft(eligibility=Eligibility(min_age=20, max_age=19)), "eligibility.max_age:"),
        (draft(eligibility=Eligibility(children_min=-1)), "eligibility.children_min:"),
        (draft(eligibility=Eligibility(list="The List")), "eligibility.list:"),
        (draft(funding_split=(Share(bearer="city", percent=99),)), "funding_split: all shares"),
        (
            draft(funding_split=(Share(bearer="city", percent=100), Share(bearer="b", percent=0))),
            "funding_split: each share",
        ),
        (
            draft(funding_split=(Share(bearer="city", percent=50),) * 2),
            "funding_split: 'city' is there twice.",
        ),
        (draft(expiry=Expiry(rule="months_after_issue")), "expiry.months: use 1 to 120"),
        (draft(expiry=Expiry(rule="after_last_use", months=121)), "expiry.months: use 1 to 120"),
        (draft(expiry=Expiry(months=1)), "expiry.months: means nothing"),
        (draft(expiry=Expiry(years=1)), "expiry.years: means nothing"),
        (draft(expiry=Expiry(rule="fiscal_year", years=11)), "expiry.years: use 0 to 10."),
        (draft(caps=Caps(payment_yen=0)), "caps.payment_yen:"),
        (draft(caps=Caps(day_yen=-1)), "caps.day_yen:"),
        (draft(caps=Caps(balance_yen=AMOUNT_YEN_MAX + 1)), "caps.balance_yen:"),
        (draft(caps=Caps(balance_yen=62_499)), "caps.balance_yen: all sets of one person"),
        (draft(gifts=Gifts(allowed=True, month_max_yen=0)), "gifts.month_max_yen:"),
        (draft(gifts=Gifts(transfer_max_yen=1)), "gifts: limits mean nothing"),
        (draft(unit="HOUR"), "unit:"),
        (draft(refunds=Refunds(to_expired="extend_days")), "refunds.extend_days: use"),
        (draft(refunds=Refunds(extend_days=1)), "refunds.extend_days: means nothing"),
        (draft(exchanges=(Exchange(to="voucher"),)), "exchanges.to: 'voucher' is no other"),
        (draft(exchanges=(Exchange(to="coin", per=0),)), "exchanges: times and per"),
        (draft(exchanges=(Exchange(to="coin"),) * 2), "exchanges: 'coin' is there twice."),
        (draft(art13=Article13(others="券" * 501)), "art13.others:"),
        (draft(budget_yen=-1), "budget_yen:"),
        (draft(budget_yen=AMOUNT_YEN_MAX + 1), "budget_yen:"),
    ],
)
def test_each_problem_is_told_alone(wrong: ProgrammeDraft, start: str) -> None:
    (problem,) = problems_of(wrong)
    assert problem.startswith(start)
    assert problem.endswith(".")


def test_all_problems_are_told_at_once() -> None:
    assert len(problems_of(draft(code="!", name="", budget_yen=-1))) == 3


def test_an_unknown_category_is_told_with_the_one_that_may_be_meant() -> None:
    misspelt = draft(spending=spending(excluded_categories=frozenset({"tobbaco", "xyz"})))
    assert problems_of(misspelt, known_categories=("tobacco", "books")) == [
        "spending: there is no shop category 'tobbaco'. Did you mean 'tobacco'?",
        "spending: there is no shop category 'xyz'.",
    ]
    assert problems_of(misspelt) == []

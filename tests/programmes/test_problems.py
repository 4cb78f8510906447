"""What is wrong with a draft, one sentence for each problem."""

from datetime import date

import pytest

from tests.factories.programmes import frame, free_draft, spending, voucher_draft
from wallet.core.money import AMOUNT_YEN_MAX
from wallet.programmes.create_programme import ProgrammeDraft, problems_of

GOOD = voucher_draft()


def draft(**changes: object) -> ProgrammeDraft:
    """Return a good draft with ``changes``."""
    parts = {name: getattr(GOOD, name) for name in ProgrammeDraft.__struct_fields__}
    return ProgrammeDraft(**{**parts, **changes})


def test_a_good_draft_has_no_problems() -> None:
    assert problems_of(GOOD) == []
    assert problems_of(free_draft()) == []


@pytest.mark.asvs("v5.0.0-2.2.3")
@pytest.mark.parametrize(
    ("wrong", "start"),
    [
        (draft(code="Spring 2026"), "code:"),
        (draft(code=""), "code:"),
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

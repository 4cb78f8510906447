"""The demonstration's terms: what the city has published, with days that count from today."""

from datetime import date, timedelta

import pytest

from wallet.core.refusals import RefusedError
from wallet.demo.seed import TERMS
from wallet.demo.terms import read_demo_drafts
from wallet.merchants.rules import CATEGORIES
from wallet.programmes.problems import problems_of

TODAY = date(2026, 11, 25)
FILE = """
[[programme]]
code = "a"
name = "b"
spending = { first_day = "today", usable_days = 1 }
"""


def test_the_frames_are_those_that_were_published() -> None:
    drafts = read_demo_drafts(TERMS.read_text(encoding="utf-8"), today=TODAY)
    frames = [draft.frame for draft in drafts if draft.frame is not None]
    assert len(frames) == len(drafts) == 3
    assert sum(frame.sets_total for frame in frames) == 550_000
    assert sum(frame.sets_total * frame.price_yen for frame in frames) == 2_750_000_000
    assert sum(frame.sets_total * frame.face_yen for frame in frames) == 3_687_500_000
    assert sum(draft.funded_yen for draft in drafts) == 937_500_000
    assert {frame.sets_per_person for frame in frames} == {10}


def test_the_published_terms_can_be_created() -> None:
    drafts = read_demo_drafts(TERMS.read_text(encoding="utf-8"), today=TODAY)
    assert [problems_of(draft, known_categories=CATEGORIES) for draft in drafts] == [[], [], []]
    assert {draft.spending.first_day for draft in drafts} == {TODAY}
    assert {draft.spending.last_day for draft in drafts} == {TODAY + timedelta(days=149)}


def test_one_usable_day_is_today() -> None:
    (draft,) = read_demo_drafts(FILE, today=TODAY)
    assert (draft.spending.first_day, draft.spending.last_day) == (TODAY, TODAY)


def test_dates_that_are_written_down_stay_as_they_are() -> None:
    toml = FILE.replace('"today", usable_days = 1', "2026-01-01, last_day = 2026-01-31")
    (draft,) = read_demo_drafts(toml, today=TODAY)
    assert draft.spending.last_day == date(2026, 1, 31)


@pytest.mark.parametrize(
    ("written", "instead", "problem"),
    [
        (", usable_days = 1", "", "spending.usable_days: use 1 to 3,660 days"),
        ("= 1", "= 0", "spending.usable_days: use 1 to 3,660 days"),
        ("= 1", "= 9_999_999", "spending.usable_days: use 1 to 3,660 days"),
        ("= 1", "= true", "spending.usable_days: use 1 to 3,660 days"),
        ('"today"', "2026-01-01", "contains unknown field usable_days"),
        (FILE, "programme = [1]", "programme 1: Expected a table"),
    ],
)
def test_days_that_cannot_be_counted_are_refused(written: str, instead: str, problem: str) -> None:
    with pytest.raises(RefusedError) as refused:
        read_demo_drafts(FILE.replace(written, instead), today=TODAY)
    assert problem in refused.value.refusal.facts["problem"]

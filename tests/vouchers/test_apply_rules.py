"""Who may apply, and whom two applications belong to: rules without a database."""

from datetime import date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.campaigns import first_come, terms
from tests.factories.moments import NOW_US
from wallet.core.clock import JST, to_microseconds
from wallet.core.refusals import Refusal
from wallet.programmes.terms import Eligibility
from wallet.vouchers.apply_rules import (
    ApplicantFacts,
    SoftIdentity,
    applicant_key,
    household_key_of,
    judge,
    soft_key_of,
)
from wallet.vouchers.campaigns_rules import (
    STEPS,
    CampaignTerms,
    Due,
    Facts,
    Mode,
    Need,
    State,
    Step,
    check_step,
    due_at,
    offers_until,
    problems_of,
    steps_from,
)

KEY = bytes(32)
ALL_IS_WELL = Facts(approved=True, shops=100, committed=True, drawn=True, told=(1, 2))
YEAR = 2026


@pytest.mark.parametrize(
    ("eligibility", "facts", "reasons"),
    [
        (Eligibility(), ApplicantFacts(), []),
        (Eligibility(resident=True), ApplicantFacts(resident=True), []),
        (Eligibility(resident=True), ApplicantFacts(resident=False), ["not_resident"]),
        (Eligibility(resident=True), ApplicantFacts(), ["unconfirmed"]),
        (Eligibility(min_age=65), ApplicantFacts(birth_year=1961), []),
        (Eligibility(min_age=65), ApplicantFacts(birth_year=1962), ["age"]),
        (Eligibility(max_age=18), ApplicantFacts(birth_year=2007), []),
        (Eligibility(max_age=18), ApplicantFacts(birth_year=2006), ["age"]),
        (Eligibility(max_age=18), ApplicantFacts(), ["unconfirmed"]),
        (Eligibility(children_min=1), ApplicantFacts(children=0), ["children"]),
        (Eligibility(children_min=1), ApplicantFacts(children=2), []),
        (Eligibility(children_min=1), ApplicantFacts(), ["unconfirmed"]),
        (Eligibility(list="carers"), ApplicantFacts(lists=frozenset({"carers"})), []),
        (Eligibility(list="carers"), ApplicantFacts(), ["not_listed"]),
        (
            Eligibility(resident=True, min_age=65),
            ApplicantFacts(resident=False),
            ["not_resident", "unconfirmed"],
        ),
    ],
)
def test_a_frame_says_whom_it_is_for(
    eligibility: Eligibility, facts: ApplicantFacts, reasons: list[str]
) -> None:
    assert judge(eligibility, facts, year=YEAR) == reasons


@given(st.integers(0, 120), st.integers(0, 120), st.integers(1900, 2026))
def test_whoever_may_have_the_age_on_some_day_of_the_year_is_not_turned_away(
    first: int, second: int, birth_year: int
) -> None:
    eligibility = Eligibility(min_age=min(first, second), max_age=max(first, second))
    ages = {YEAR - birth_year - 1, YEAR - birth_year}
    fits = any(min(first, second) <= age <= max(first, second) for age in ages)
    refused = judge(eligibility, ApplicantFacts(birth_year=birth_year), year=YEAR)
    # Asked about both limits at once, either age may fit either limit: never stricter than that.
    assert not (fits and refused)


def taro(**changes: object) -> SoftIdentity:
    """Return what stands on a paper."""
    fields = {"name": "姫路 太郎", "birth_date": date(1950, 4, 1), "address": "本町68-1", **changes}
    return SoftIdentity(**fields)  # type: ignore[arg-type] # fields of several types


@pytest.mark.parametrize(
    "changes",
    [{"name": "姫路　太郎"}, {"name": "姫路太郎"}, {"address": "本町６８ー１"},
     {"address": "本町 68‐1"}],
)  # fmt: skip
def test_the_same_person_written_otherwise_has_the_same_key(changes: dict[str, object]) -> None:
    assert soft_key_of(taro(**changes), key=KEY) == soft_key_of(taro(), key=KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "姫路 次郎"},
        {"birth_date": date(1950, 4, 2)},
        {"address": "本町69"},
        {"name": "姫路 タロー"},
    ],
)
def test_somebody_else_has_another_key(changes: dict[str, object]) -> None:
    assert soft_key_of(taro(**changes), key=KEY) != soft_key_of(taro(), key=KEY)
    assert soft_key_of(taro(), key=KEY) != soft_key_of(taro(), key=bytes([1]) * 32)


def test_a_household_is_where_people_live() -> None:
    assert household_key_of("本町68-1", key=KEY) == household_key_of("本町 68-1", key=KEY)
    assert household_key_of("本町68-1", key=KEY) != household_key_of("本町68-2", key=KEY)


def test_an_applicant_is_somebody_else_in_every_campaign() -> None:
    person, campaigns = UUID(int=7), [UUID(int=1), UUID(int=2)]
    keys = {applicant_key(one, key=KEY, person_id=person, soft_key=None) for one in campaigns}
    assert len(keys) == 2
    # Whoever is known is known by who they are, whatever paper they have filled in.
    papers = [None, bytes(32), bytes([1]) * 32]
    same = {applicant_key(campaigns[0], key=KEY, person_id=person, soft_key=p) for p in papers}
    assert len(same) == 1
    with pytest.raises(ValueError, match="a person or stands on a paper"):
        applicant_key(campaigns[0], key=KEY, person_id=None, soft_key=None)


def way(mode: Mode) -> list[State]:
    """Return the states that a campaign goes through when everything it needs is there."""
    states = [State.DRAFT]
    while steps := [s for s in steps_from(states[-1], mode=mode) if s.target not in states]:
        states.append(steps[0].target)
    return states


def test_the_states_come_in_the_order_of_the_field() -> None:
    assert way(Mode.LOTTERY) == list(State)
    assert way(Mode.ALL_WIN) == list(State)
    without = {State.APPLYING, State.CLOSED, State.CHECKING, State.DRAWN, State.NOTIFIED,
               State.LAPSED_UNITS, State.SECOND_ROUND}  # fmt: skip
    assert way(Mode.FIRST_COME) == [state for state in State if state not in without]


def step(source: State, target: State, mode: Mode = Mode.LOTTERY) -> Step:
    """Return the step between two states."""
    (found,) = [one for one in steps_from(source, mode=mode) if one.target is target]
    return found


@pytest.mark.parametrize("one", STEPS, ids=lambda one: f"{one.source}-{one.target}")
def test_every_step_waits_for_its_day_and_for_what_it_needs(one: Step) -> None:
    of = terms(second_round=True) if Mode.LOTTERY in one.modes else first_come()
    planned = due_at(one, of)
    late_us = to_microseconds(datetime(2030, 1, 1, tzinfo=JST))
    assert check_step(one, of, ALL_IS_WELL, now_us=late_us) is None
    assert (planned is None) == (one.due is None)
    if planned is not None:
        early = check_step(one, of, ALL_IS_WELL, now_us=to_microseconds(planned) - 1)
        assert early is not None
        assert early.code == "campaign_too_early"
        assert check_step(one, of, ALL_IS_WELL, now_us=to_microseconds(planned)) is None
    if one.needs:
        refusal = check_step(one, of, Facts(has_offers=True), now_us=late_us)
        assert refusal is not None
        assert refusal.code == str(one.needs[0])


def test_each_need_is_asked_for_somewhere_and_each_day_is_waited_for() -> None:
    assert {need for one in STEPS for need in one.needs} == set(Need)
    assert {one.due for one in STEPS} - {None} == set(Due)


@pytest.mark.parametrize("stop", ["all", "sale", "programme:voucher"])
def test_a_stop_of_sales_keeps_a_sale_from_opening(stop: str) -> None:
    opens = step(State.NOTIFIED, State.PURCHASING)
    facts = Facts(told=(1,), stops={stop})
    assert check_step(opens, terms(), facts, now_us=NOW_US) == Refusal("service_stopped")
    assert check_step(opens, terms("other"), Facts(stops={"programme:voucher"}), now_us=0) is None


def test_a_stop_of_sales_leaves_the_rest_alone() -> None:
    closes = step(State.CLOSED, State.CHECKING)
    assert check_step(closes, terms(), Facts(stops={"sale"}), now_us=NOW_US) is None
    assert check_step(closes, terms(), Facts(stops={"all"}), now_us=NOW_US) is not None


def test_whoever_is_told_late_has_as_many_days_to_buy() -> None:
    until = offers_until(terms(purchase_days=7), told_on=date(2026, 12, 31))
    assert until == datetime(2027, 1, 8, tzinfo=JST)


BAD: list[tuple[CampaignTerms, str]] = [
    (terms(name=" "), "name:"),
    (terms(frames=()), "frames:"),
    (terms(frames=("a", "a")), "frames:"),
    (terms(frames=("A B",)), "frames: a code"),
    (terms(use_until=date(9999, 12, 31)), "days:"),
    (terms(apply_from=None), "apply_from, apply_until, results_on: are needed"),
    (terms(apply_until=terms().apply_from), "apply_until:"),
    (terms(results_on=date(2026, 11, 26)), "results_on:"),
    (terms(purchase_days=0), "purchase_days:"),
    (terms(purchase_days=300), "purchase_days: winners could buy after"),
    (terms(units_per_person=0), "units_per_person:"),
    (terms(shops_min=-1), "shops_min:"),
    (terms(use_from=date(2028, 1, 1)), "use_until:"),
    (terms(purchase_from=terms().apply_from), "purchase_from, purchase_until: only"),
    (first_come(apply_from=terms().apply_from), "apply_from, apply_until, results_on: nobody"),
    (first_come(second_round=True), "second_round:"),
    (first_come(purchase_until=None), "purchase_from, purchase_until: are needed"),
    (first_come(purchase_until=first_come().purchase_from), "purchase_until: is not after"),
    (
        first_come(purchase_until=datetime(2027, 4, 1, tzinfo=JST) + timedelta(hours=1)),
        "purchase_until: is after use_until",
    ),
]


@pytest.mark.parametrize(("of", "sentence"), BAD, ids=range(len(BAD)))
def test_terms_that_cannot_work_are_told_in_sentences(of: CampaignTerms, sentence: str) -> None:
    problems = problems_of(of)
    assert any(one.startswith(sentence) for one in problems), problems
    assert all(one.endswith(".") for one in problems)


def test_good_terms_have_no_problems() -> None:
    assert problems_of(terms()) == []
    assert problems_of(first_come()) == []

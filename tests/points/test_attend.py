"""Civic events: each code once, each person once a day, and never beyond budget or places."""

import asyncio
from datetime import date, timedelta
from functools import partial
from uuid import uuid4

import pytest

from tests.factories.city import City
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.payments import engage, release
from tests.factories.planting import failed
from tests.factories.points import (
    TODAY,
    attend,
    make_event,
    make_person,
    make_points,
    purses_in,
    put_off,
    yen_in,
)
from tests.factories.residents import Resident, row_of, within
from wallet.people.freeze import freeze
from wallet.points.attend import Attended
from wallet.points.codes import new_event_code
from wallet.points.give import Refused
from wallet.programmes.bonus import Band, Bonus
from wallet.programmes.terms import Caps, Eligibility, Expiry
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")


def refusal_in(answer: Attended | Refused) -> str:
    """Return the code of a refusal."""
    assert isinstance(answer, Refused), answer
    return answer.refusal.code


async def make_people(city: City, count: int) -> list[Resident]:
    """Enrol people."""
    return [await make_person(city.engine) for _ in range(count)]


async def test_who_was_there_gets_free_money_once(city: City) -> None:
    points = await make_points(city.teller, expiry=Expiry(rule="fiscal_year"))
    event_id, person = await make_event(city.engine, points), await make_person(city.engine)
    code = new_event_code(event_id, day=TODAY, pepper=PEPPER)
    first, second = [await attend(city.teller, person, code) for _ in range(2)]
    assert isinstance(first, Attended)
    assert isinstance(second, Attended)
    assert (first.replayed, second.replayed) == (False, True)
    assert (first.event, first.programme, first.expires_on) == (
        "清掃活動",
        points,
        date(2027, 3, 31),
    )
    assert second.attendance == first.attendance
    assert await purses_in(city.engine, person.wallet_id, points) == [
        ("free", date(2027, 3, 31), 100, 0)
    ]


async def test_another_code_of_the_same_day_brings_nothing_more(city: City) -> None:
    points = await make_points(city.teller)
    event_id, person = await make_event(city.engine, points), await make_person(city.engine)
    await attend(city.teller, person, event_id)
    assert refusal_in(await attend(city.teller, person, event_id)) == "event_attended"
    assert await yen_in(city.engine, person, points) == 100


async def test_a_code_that_was_passed_on_is_used(city: City) -> None:
    points = await make_points(city.teller)
    event_id = await make_event(city.engine, points)
    people = await make_people(city, 5)
    code = new_event_code(event_id, day=TODAY, pepper=PEPPER)
    answers = await asyncio.gather(*[attend(city.teller, one, code) for one in people])
    refusals = [refusal_in(one) for one in answers if isinstance(one, Refused)]
    assert refusals == ["event_code_used"] * 4


async def test_one_person_at_once_from_many_phones_is_there_once(city: City) -> None:
    points = await make_points(city.teller)
    event_id, person = await make_event(city.engine, points), await make_person(city.engine)
    answers = await asyncio.gather(*[attend(city.teller, person, event_id) for _ in range(10)])
    assert sum(isinstance(one, Attended) for one in answers) == 1
    assert await yen_in(city.engine, person, points) == 100


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_code_of_another_day_brings_nothing(city: City, days: int) -> None:
    points = await make_points(city.teller)
    event_id = await make_event(city.engine, points, last_day=TODAY + timedelta(days=7))
    day, person = TODAY + timedelta(days=days), await make_person(city.engine)
    answer = await attend(city.teller, person, event_id, day=day)
    assert refusal_in(answer) == "event_code_not_today"


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "closed"},
        {"first_day": TODAY - timedelta(days=2), "last_day": TODAY - timedelta(days=1)},
        {"first_day": TODAY + timedelta(days=1), "last_day": TODAY + timedelta(days=1)},
    ],
    ids=["closed", "over", "early"],
)
async def test_an_event_that_does_not_take_place_brings_nothing(
    city: City, changes: dict[str, object]
) -> None:
    event_id = await make_event(city.engine, await make_points(city.teller), **changes)
    person = await make_person(city.engine)
    assert refusal_in(await attend(city.teller, person, event_id)) == "event_closed"


async def test_nobody_is_at_an_event_that_is_none(city: City) -> None:
    person = await make_person(city.engine)
    assert refusal_in(await attend(city.teller, person, uuid4())) == "event_code_unknown"


@pytest.mark.parametrize(
    ("budget_yen", "grants_max", "code"),
    [(350, None, "points_exhausted"), (1_000, 3, "event_full")],
)
async def test_a_crowd_gets_exactly_what_there_is(
    city: City, budget_yen: int, grants_max: int | None, code: str
) -> None:
    points = await make_points(city.teller, budget_yen=budget_yen)
    event_id = await make_event(city.engine, points, grants_max=grants_max)
    people = await make_people(city, 8)
    answers = await asyncio.gather(*[attend(city.teller, one, event_id) for one in people])
    assert sum(isinstance(one, Attended) for one in answers) == 3
    assert {refusal_in(one) for one in answers if isinstance(one, Refused)} == {code}
    row = await row_of(city.engine, "SELECT grants FROM civic_event WHERE id = :id", id=event_id)
    assert row["grants"] == 3


async def test_a_ceiling_of_the_programme_is_kept(city: City) -> None:
    points = await make_points(city.teller, caps=Caps(balance_yen=150))
    person = await make_person(city.engine)
    first, second = [await make_event(city.engine, points) for _ in range(2)]
    await attend(city.teller, person, first)
    assert refusal_in(await attend(city.teller, person, second)) == "balance_limit"


async def test_points_for_residents_are_not_earned_by_others(city: City) -> None:
    points = await make_points(city.teller, eligibility=Eligibility(resident=True))
    event_id, person = await make_event(city.engine, points), await make_person(city.engine)
    assert refusal_in(await attend(city.teller, person, event_id)) == "holder_not_eligible"


async def test_money_that_could_not_be_spent_any_more_is_not_granted(city: City) -> None:
    points = await make_points(city.teller, last_day=TODAY - timedelta(days=1))
    event_id, person = await make_event(city.engine, points), await make_person(city.engine)
    assert refusal_in(await attend(city.teller, person, event_id)) == "points_over"


async def test_a_programme_that_has_not_begun_gives_nothing(city: City) -> None:
    points = await make_points(city.teller)
    event_id, person = await make_event(city.engine, points), await make_person(city.engine)
    await put_off(city, points)
    assert refusal_in(await attend(city.teller, person, event_id)) == "programme_not_live"


async def test_somebody_frozen_earns_nothing(city: City) -> None:
    event_id = await make_event(city.engine, await make_points(city.teller))
    person = await make_person(city.engine)
    await within(city.engine, partial(freeze, person_id=person.id, because="own", now_us=NOW_US))
    assert refusal_in(await attend(city.teller, person, event_id)) == "wallet_frozen"


async def test_a_stop_of_issues_holds_it_up(city: City) -> None:
    event_id = await make_event(city.engine, await make_points(city.teller))
    person = await make_person(city.engine)
    await engage(city, "issue")
    try:
        refusal = refusal_in(await attend(city.teller, person, event_id))
    finally:
        await release(city, "issue")
    assert refusal == "service_stopped"


async def test_a_bonus_for_civic_events_is_due_once(city: City) -> None:
    bonus = Bonus(code="thanks", on="civic", bands=(Band(from_yen=0, bonus_yen=10),))
    points = await make_points(city.teller, bonuses=(bonus,))
    event_id, person = await make_event(city.engine, points), await make_person(city.engine)
    for _ in range(2):
        await attend(city.teller, person, event_id)
    due = await row_of(
        city.engine,
        "SELECT event, base_yen, bonus FROM bonus_due WHERE wallet_id = :id",
        id=person.wallet_id,
    )
    assert due == {"event": "civic", "base_yen": 0, "bonus": None}


async def test_the_proof_is_green_after_events(city: City) -> None:
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, failed(proof.checks)

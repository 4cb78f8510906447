"""Steps: today's only, by one phone, up the ladder, within the month and the budget."""

import asyncio
from datetime import date, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.factories.city import City
from tests.factories.moments import NOW_US
from tests.factories.payments import engage, release
from tests.factories.planting import failed
from tests.factories.points import TODAY, make_person, make_points, make_rule, walk, yen_in
from tests.factories.residents import Resident, within
from wallet.points.give import Refused
from wallet.points.walk import Walked
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

EARLIER = text("""
INSERT INTO step_day (person_id, programme_id, day, device_id, steps, rewarded_yen, updated_at)
SELECT :person_id, g.id, :day, :device_id, 9000, :yen, now() FROM programme AS g
WHERE g.code = :programme
""")


async def make_walker(
    city: City,
    *,
    budget_yen: int = 1_000,
    month_max_yen: int = 50,
) -> tuple[Resident, str]:
    """Return somebody and a programme whose points their steps earn."""
    points = await make_points(city.teller, budget_yen=budget_yen)
    await make_rule(city.engine, points, month_max_yen=month_max_yen)
    return await make_person(city.engine), points


def refusal_in(answer: Walked | Refused) -> str:
    """Return the code of a refusal."""
    assert isinstance(answer, Refused), answer
    return answer.refusal.code


def earned_in(answer: Walked | Refused) -> tuple[int, int, int]:
    """Return steps that count, yen earned today, yen earned now."""
    assert isinstance(answer, Walked), answer
    return answer.steps, answer.rewarded_yen, answer.earned_yen


async def test_each_rung_earns_what_is_beyond_the_last_one(city: City) -> None:
    person, points = await make_walker(city)
    told = [
        earned_in(await walk(city.teller, person, points, steps))
        for steps in (3_999, 4_000, 6_999, 20_000, 5_000)
    ]
    assert told == [(3_999, 0, 0), (4_000, 2, 2), (6_999, 2, 0), (20_000, 5, 3), (20_000, 5, 0)]
    assert await yen_in(city.engine, person, points) == 5


async def test_many_counts_at_once_earn_a_day_once(city: City) -> None:
    person, points = await make_walker(city)
    counts = [walk(city.teller, person, points, 3_000 + 500 * n) for n in range(12)]
    await asyncio.gather(*counts)
    assert await yen_in(city.engine, person, points) == 5


@pytest.mark.parametrize("days", [-1, 1])
async def test_only_today_counts(city: City, days: int) -> None:
    person, points = await make_walker(city)
    answer = await walk(city.teller, person, points, 8_000, day=TODAY + timedelta(days=days))
    assert refusal_in(answer) == "steps_not_today"


async def test_a_second_phone_does_not_count_on_the_same_day(city: City) -> None:
    person, points = await make_walker(city)
    await walk(city.teller, person, points, 100)
    answer = await walk(city.teller, person, points, 8_000, device_id=uuid4())
    assert refusal_in(answer) == "steps_other_device"
    await make_rule(city.engine, other := await make_points(city.teller))
    answer = await walk(city.teller, person, other, 8_000, device_id=uuid4())
    assert refusal_in(answer) == "steps_other_device"


async def test_a_month_is_bounded(city: City) -> None:
    person, points = await make_walker(city, month_max_yen=9)
    for day, yen in ((TODAY - timedelta(days=1), 6), (date(2026, 10, 31), 100)):
        values = {
            "person_id": person.id,
            "programme": points,
            "day": day,
            "device_id": person.phone.device_id,
            "yen": yen,
        }
        await within(city.engine, lambda c, v=values: c.execute(EARLIER, v))  # type: ignore[misc] # its own v
    assert earned_in(await walk(city.teller, person, points, 8_000)) == (8_000, 3, 3)


async def test_a_budget_that_is_used_up_ends_the_reward_and_not_the_count(city: City) -> None:
    person, points = await make_walker(city, budget_yen=6)
    other = await make_person(city.engine)
    assert earned_in(await walk(city.teller, person, points, 8_000)) == (8_000, 5, 5)
    assert earned_in(await walk(city.teller, other, points, 8_000)) == (8_000, 0, 0)


async def test_steps_of_a_programme_without_a_rule_do_not_count(city: City) -> None:
    person, points = await make_person(city.engine), await make_points(city.teller)
    for code in (points, "nothing"):
        assert refusal_in(await walk(city.teller, person, code, 8_000)) == "steps_not_counted"


async def test_a_rule_that_is_over_counts_nothing(city: City) -> None:
    person, points = await make_person(city.engine), await make_points(city.teller)
    await make_rule(city.engine, points, last_day=TODAY - timedelta(days=1))
    assert refusal_in(await walk(city.teller, person, points, 8_000)) == "steps_not_counted"


async def test_a_stop_holds_it_up(city: City) -> None:
    person, points = await make_walker(city)
    await engage(city, f"programme:{points}")
    try:
        refusal = refusal_in(await walk(city.teller, person, points, 8_000))
    finally:
        await release(city, f"programme:{points}")
    assert refusal == "service_stopped"


async def test_the_proof_is_green_after_walks(city: City) -> None:
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, failed(proof.checks)

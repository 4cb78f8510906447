"""Exchanges: free money only, at the terms' rate, both programmes conserved."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.factories.city import City
from tests.factories.moments import NOW_US
from tests.factories.payments import engage, release
from tests.factories.planting import failed
from tests.factories.points import (
    TODAY,
    exchange,
    make_coin,
    make_person,
    make_points,
    put_off,
    sell,
    yen_in,
)
from tests.factories.residents import Resident
from tests.factories.vouchers import give as issue
from wallet.core.refusals import Refusal
from wallet.points.exchange import Exchanged
from wallet.points.give import Refused
from wallet.programmes.terms import Caps, Eligibility
from wallet.programmes.terms import Exchange as Rate
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def make_pair(
    city: City,
    *,
    times: int = 1,
    per: int = 2,
    **target: Any,  # noqa: ANN401 - fields of many types
) -> tuple[str, str]:
    """Return points that may become others at ``times`` / ``per``."""
    to = await make_points(city.teller, **target)
    rate = Rate(to=to, times=times, per=per)
    return await make_points(city.teller, exchanges=[rate]), to


async def make_holder(city: City, points: str, *, yen: int = 1_000) -> Resident:
    """Return somebody with points."""
    person = await make_person(city.engine)
    await issue(city.teller, person.wallet_id, points, amount_yen=yen)
    return person


def refusal_in(answer: Exchanged | Refused) -> Refusal:
    """Return a refusal."""
    assert isinstance(answer, Refused), answer
    return answer.refusal


async def test_what_comes_in_is_floored_and_no_more_is_taken_than_it_costs(city: City) -> None:
    points, to = await make_pair(city)
    person = await make_holder(city, points)
    answer = await exchange(city.teller, person, points, to, yen=501)
    assert isinstance(answer, Exchanged)
    assert (answer.row.given_yen, answer.row.received_yen) == (500, 250)
    held = [await yen_in(city.engine, person, one) for one in (points, to)]
    assert held == [500, 250]


async def test_a_repeat_moves_nothing(city: City) -> None:
    points, to = await make_pair(city)
    person = await make_holder(city, points)
    answers = await asyncio.gather(
        *[exchange(city.teller, person, points, to, yen=400, key="once") for _ in range(6)]
    )
    assert sorted(one.replayed for one in answers if isinstance(one, Exchanged)) == [
        False,
        *[True] * 5,
    ]
    assert await yen_in(city.engine, person, to) == 200
    other = await exchange(city.teller, person, points, to, yen=401, key="once")
    assert refusal_in(other).code == "idempotency_conflict"


async def test_paid_money_stays_what_it_is(city: City) -> None:
    to, person = await make_points(city.teller), await make_person(city.engine)
    coin = await make_coin(city.teller)
    await sell(city.teller, person, coin, yen=1_000)
    assert refusal_in(await exchange(city.teller, person, coin, to, yen=1)).code == (
        "exchange_not_allowed"
    )


async def test_the_way_back_must_be_allowed_by_itself(city: City) -> None:
    points, to = await make_pair(city)
    person = await make_holder(city, to)
    assert refusal_in(await exchange(city.teller, person, to, points, yen=2)).code == (
        "exchange_not_allowed"
    )


@pytest.mark.parametrize("which", ["from", "to"])
async def test_a_programme_that_is_none_is_unknown(city: City, which: str) -> None:
    points, to = await make_pair(city)
    person = await make_holder(city, points)
    pair = ("nothing", to) if which == "from" else (points, "nothing")
    refusal = refusal_in(await exchange(city.teller, person, *pair, yen=2))
    assert refusal == Refusal("programme_unknown", {"programme": "nothing"})


async def test_too_little_brings_nothing(city: City) -> None:
    points, to = await make_pair(city, times=2, per=5)
    person = await make_holder(city, points)
    refusal = refusal_in(await exchange(city.teller, person, points, to, yen=2))
    assert refusal == Refusal("exchange_too_small", {"least_yen": 3})


async def test_no_more_is_exchanged_than_there_is(city: City) -> None:
    points, to = await make_pair(city)
    person = await make_holder(city, points, yen=100)
    refusal = refusal_in(await exchange(city.teller, person, points, to, yen=102))
    assert refusal.code == "balance_insufficient"


async def test_a_budget_is_never_exceeded(city: City) -> None:
    points, to = await make_pair(city, budget_yen=100)
    people = [await make_holder(city, points, yen=60) for _ in range(6)]
    answers = await asyncio.gather(
        *[exchange(city.teller, one, points, to, yen=60) for one in people]
    )
    assert sum(isinstance(one, Exchanged) for one in answers) == 3
    codes = {one.refusal.code for one in answers if isinstance(one, Refused)}
    assert codes == {"points_exhausted"}


async def test_a_ceiling_of_the_other_programme_is_kept(city: City) -> None:
    points, to = await make_pair(city, caps=Caps(balance_yen=100))
    person = await make_holder(city, points)
    refusal = refusal_in(await exchange(city.teller, person, points, to, yen=202))
    assert refusal == Refusal("balance_limit", {"left_yen": 100})


async def test_money_that_is_over_is_not_exchanged_into(city: City) -> None:
    points, to = await make_pair(city, last_day=TODAY - timedelta(days=1))
    person = await make_holder(city, points)
    refusal = refusal_in(await exchange(city.teller, person, points, to, yen=2))
    assert refusal.code == "points_over"


async def test_nothing_is_exchanged_into_a_programme_that_has_not_begun(city: City) -> None:
    points, to = await make_pair(city)
    person = await make_holder(city, points)
    await put_off(city, to)
    refusal = refusal_in(await exchange(city.teller, person, points, to, yen=2))
    assert refusal.code == "programme_not_live"


async def test_residents_money_is_not_exchanged_into_by_others(city: City) -> None:
    points, to = await make_pair(city, eligibility=Eligibility(resident=True))
    person = await make_holder(city, points)
    refusal = refusal_in(await exchange(city.teller, person, points, to, yen=2))
    assert refusal.code == "holder_not_eligible"


async def test_a_stop_of_either_programme_holds_it_up(city: City) -> None:
    points, to = await make_pair(city)
    person = await make_holder(city, points)
    for code in (points, to):
        await engage(city, f"programme:{code}")
        try:
            refusal = refusal_in(await exchange(city.teller, person, points, to, yen=2))
        finally:
            await release(city, f"programme:{code}")
        assert refusal.code == "service_stopped"


async def test_the_proof_is_green_after_exchanges(city: City) -> None:
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, failed(proof.checks)

"""Gifts that wait for whoever has their code: held meanwhile, claimed once, taken back, run out."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from functools import partial
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.factories.city import City, make_city
from tests.factories.moments import NOW, NOW_US
from tests.factories.payments import engage, release
from tests.factories.planting import failed
from tests.factories.points import (
    answer_to,
    gift_of,
    hash_of,
    make_coin,
    make_person,
    new_gift_code,
    purses_in,
    refusal_to,
    sell,
    settle,
    yen_in,
)
from tests.factories.residents import Resident, within
from tests.servers import Database
from wallet.auth.rules import Acr, Requirement
from wallet.core.clock import MICROSECONDS, TestClock
from wallet.ledger.create import CREATE, CreateRequest
from wallet.people.freeze import freeze
from wallet.points import give
from wallet.points.claim import Cancel, Claim
from wallet.points.give import CODE_DAYS, Gave, Refused
from wallet.programmes.terms import Caps
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY_US = 86_400 * MICROSECONDS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coin(city: City) -> str:
    """Create a coin."""
    return await make_coin(city.teller)


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what a giver must show: tests/api asks for it through the doors."""
    plain = Requirement(require=(Acr.DEV,), max_age_s=300)
    monkeypatch.setattr(give, "requirement", lambda **_: plain)


class Waiting:
    """A gift of 3,000 yen that waits, out of 10,000."""

    def __init__(self, giver: Resident, code: str, gave: Gave) -> None:
        self.giver = giver
        self.code = code
        self.gift = gave.gift

    def claim(self, claimer: Resident) -> Claim:
        """Return somebody's request for it."""
        return Claim(claimer.id, hash_of(self.code))

    def cancel(self) -> Cancel:
        """Return its giver's request to have it back."""
        return Cancel(self.giver.id, self.gift.id)


async def make_waiting(city: City, coin: str, *, giver: Resident | None = None) -> Waiting:
    """Give by a code."""
    if giver is None:
        giver = await make_person(city.engine)
        await sell(city.teller, giver, coin, yen=10_000)
    code = new_gift_code()
    request = gift_of(giver, None, coin, yen=3_000, code_hash=hash_of(code))
    answer = await answer_to(city.teller, request)
    assert isinstance(answer, Gave), answer
    return Waiting(giver, code, answer)


async def settled(city: City, request: Claim | Cancel) -> Gave:
    """Settle, or fail the test."""
    answer = await settle(city.teller, request)
    assert isinstance(answer, Gave), answer
    return answer


async def refused(city: City, request: Claim | Cancel) -> str:
    """Return why a gift was not settled."""
    answer = await settle(city.teller, request)
    assert isinstance(answer, Refused), answer
    return answer.refusal.code


@pytest.fixture
def clock(city: City) -> TestClock:
    """Return the city's clock."""
    assert isinstance(city.clock, TestClock)
    return city.clock


@pytest_asyncio.fixture(loop_scope="module")
async def later(clock: TestClock) -> AsyncIterator[TestClock]:
    """Yield the clock, and set it back afterwards."""
    yield clock
    clock.now_us = NOW_US


async def test_what_waits_is_held_and_stays_the_givers(city: City, coin: str) -> None:
    waiting = await make_waiting(city, coin)
    assert waiting.gift.state == "waiting"
    assert waiting.gift.expires_at == NOW + timedelta(days=CODE_DAYS)
    assert await purses_in(city.engine, waiting.giver.wallet_id, coin) == [
        ("paid", date(2027, 3, 31), 10_000, 3_000)
    ]
    more = gift_of(waiting.giver, None, coin, yen=7_001)
    assert await refusal_to(city.teller, more) == "balance_insufficient"


async def test_a_claim_moves_the_money_once(city: City, coin: str) -> None:
    waiting, claimer = await make_waiting(city, coin), await make_person(city.engine)
    first = await settled(city, waiting.claim(claimer))
    second = await settled(city, waiting.claim(claimer))
    assert (first.replayed, second.replayed) == (False, True)
    assert first.gift.receiver_id == second.gift.receiver_id == claimer.id
    assert await yen_in(city.engine, claimer, coin) == 3_000
    assert await purses_in(city.engine, waiting.giver.wallet_id, coin) == [
        ("paid", date(2027, 3, 31), 7_000, 0)
    ]
    other = await make_person(city.engine)
    assert await refused(city, waiting.claim(other)) == "gift_over"


@pytest.mark.attack(27)
async def test_of_a_crowd_with_one_code_one_gets_the_gift(city: City, coin: str) -> None:
    waiting = await make_waiting(city, coin)
    crowd = [await make_person(city.engine) for _ in range(6)]
    answers = await asyncio.gather(*[settle(city.teller, waiting.claim(one)) for one in crowd])
    assert sum(isinstance(answer, Gave) for answer in answers) == 1
    assert sum([await yen_in(city.engine, one, coin) for one in crowd]) == 3_000


async def test_a_claim_and_a_cancellation_at_once_leave_one_gift(city: City, coin: str) -> None:
    for _ in range(5):
        waiting, claimer = await make_waiting(city, coin), await make_person(city.engine)
        await asyncio.gather(
            settle(city.teller, waiting.claim(claimer)), settle(city.teller, waiting.cancel())
        )
        held = await yen_in(city.engine, waiting.giver, coin)
        assert held + await yen_in(city.engine, claimer, coin) == 10_000


async def test_what_nobody_claimed_can_be_taken_back(city: City, coin: str) -> None:
    waiting, claimer = await make_waiting(city, coin), await make_person(city.engine)
    assert (await settled(city, waiting.cancel())).gift.state == "cancelled"
    assert (await settled(city, waiting.cancel())).replayed
    assert await purses_in(city.engine, waiting.giver.wallet_id, coin) == [
        ("paid", date(2027, 3, 31), 10_000, 0)
    ]
    assert await refused(city, waiting.claim(claimer)) == "gift_over"


async def test_what_was_claimed_cannot_be_taken_back(city: City, coin: str) -> None:
    waiting, claimer = await make_waiting(city, coin), await make_person(city.engine)
    await settled(city, waiting.claim(claimer))
    assert await refused(city, waiting.cancel()) == "gift_claimed"


async def test_nobody_takes_back_what_is_another_ones(city: City, coin: str) -> None:
    waiting, other = await make_waiting(city, coin), await make_person(city.engine)
    assert await refused(city, Cancel(other.id, waiting.gift.id)) == "gift_unknown"


async def test_a_cancelled_gift_does_not_count(city: City, coin: str) -> None:
    giver = await make_person(city.engine)
    await sell(city.teller, giver, coin, yen=40_000)
    for _ in range(11):  # 33,000 yen, where 30,000 a day are allowed.
        waiting = await make_waiting(city, coin, giver=giver)
        await settled(city, waiting.cancel())


async def test_a_code_that_ran_out_gives_the_money_back_by_itself(
    city: City, coin: str, later: TestClock
) -> None:
    waiting, claimer = await make_waiting(city, coin), await make_person(city.engine)
    later.now_us += CODE_DAYS * DAY_US
    assert await refused(city, waiting.claim(claimer)) == "gift_over"
    assert await refused(city, waiting.cancel()) == "gift_over"
    later.now_us += MICROSECONDS
    await city.teller.submit(CREATE, CreateRequest())  # Any batch releases what has run out.
    assert await purses_in(city.engine, waiting.giver.wallet_id, coin) == [
        ("paid", date(2027, 3, 31), 10_000, 0)
    ]


async def test_a_code_is_good_no_longer_than_its_money(city: City) -> None:
    short = await make_coin(city.teller, last_day=date(2026, 11, 26))
    waiting = await make_waiting(city, short)
    assert waiting.gift.expires_at == NOW.replace(day=27, hour=0)


async def test_a_made_up_code_is_nobodys(city: City) -> None:
    claimer = await make_person(city.engine)
    claim = Claim(claimer.id, hash_of(new_gift_code()))
    assert await refused(city, claim) == "gift_code_unknown"


async def test_a_giver_does_not_claim_their_own_gift(city: City, coin: str) -> None:
    waiting = await make_waiting(city, coin)
    assert await refused(city, waiting.claim(waiting.giver)) == "gift_to_self"


@pytest.mark.attack(29)
async def test_a_giver_who_froze_everything_keeps_the_money(city: City, coin: str) -> None:
    waiting, claimer = await make_waiting(city, coin), await make_person(city.engine)
    await within(
        city.engine, partial(freeze, person_id=waiting.giver.id, because="own", now_us=NOW_US)
    )
    assert await refused(city, waiting.claim(claimer)) == "gift_on_hold"


async def test_a_full_wallet_claims_nothing(city: City) -> None:
    capped = await make_coin(city.teller, caps=Caps(balance_yen=12_000))
    waiting, claimer = await make_waiting(city, capped), await make_person(city.engine)
    await sell(city.teller, claimer, capped, yen=10_000)
    assert await refused(city, waiting.claim(claimer)) == "balance_limit"


async def test_a_stop_holds_claims_up(city: City, coin: str) -> None:
    waiting, claimer = await make_waiting(city, coin), await make_person(city.engine)
    await engage(city, "gift")
    try:
        refusal = await refused(city, waiting.claim(claimer))
        await settled(city, waiting.cancel())  # What is one's own comes back all the same.
    finally:
        await release(city, "gift")
    assert refusal == "service_stopped"


async def _move_last_day(connection: AsyncConnection, *, wallet_id: UUID, day: date) -> None:
    """Let the newest purse of a wallet end on another day, as if it had been filled earlier."""
    await connection.execute(
        text(
            "UPDATE purse SET expires_on = :day WHERE wallet_id = :wallet_id"
            " AND expires_on = '2027-03-31'"
        ),
        {"day": day, "wallet_id": wallet_id},
    )


async def test_a_gift_out_of_many_purses_is_claimed_whole(database: Database) -> None:
    async with make_city(database.application_url) as city:
        coin = await make_coin(city.teller)
        giver, claimer = await make_person(city.engine), await make_person(city.engine)
        for month in (1, 2, 3):
            await sell(city.teller, giver, coin, yen=1_000)
            await within(
                city.engine,
                partial(_move_last_day, wallet_id=giver.wallet_id, day=date(2027, month, 1)),
            )
        code = new_gift_code()
        request = gift_of(giver, None, coin, yen=2_500, code_hash=hash_of(code))
        assert isinstance(await answer_to(city.teller, request), Gave)
        await settled(city, Claim(claimer.id, hash_of(code)))
        got = [
            (day, yen) for _, day, yen, _ in await purses_in(city.engine, claimer.wallet_id, coin)
        ]
        assert got == [
            (date(2027, 1, 1), 500),
            (date(2027, 2, 1), 1_000),
            (date(2027, 3, 1), 1_000),
        ]


async def test_the_proof_is_green_after_all_that(city: City) -> None:
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, failed(proof.checks)

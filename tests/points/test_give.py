"""Gifts that are given at once: what moves, to whom, and everything that keeps them from it."""

import asyncio
from datetime import date, timedelta
from functools import partial

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from tests.factories import points
from tests.factories.city import City
from tests.factories.moments import NOW, NOW_US
from tests.factories.payments import engage, release
from tests.factories.planting import failed
from tests.factories.points import (
    answer_to,
    gift_of,
    make_coin,
    make_person,
    purses_in,
    refusal_to,
    sell,
    yen_in,
)
from tests.factories.residents import Resident, make_visitor, within
from wallet.auth.rules import Acr, Operation, Requirement
from wallet.core.refusals import Refusal
from wallet.people.cool_off import cool_off
from wallet.people.freeze import freeze
from wallet.people.rules import Tier
from wallet.points import give
from wallet.points.give import Asked, Gave, Give, Refused
from wallet.programmes.terms import Caps, Eligibility, Gifts
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = text("SELECT kind, body FROM outbox WHERE body ->> 'gift_id' = :id ORDER BY seq")


async def make_friends(city: City, coin: str, *, yen: int = 50_000) -> tuple[Resident, Resident]:
    """Return a giver with coin and a receiver they have given 1 yen of another coin to before."""
    giver, receiver = await make_person(city.engine), await make_person(city.engine)
    await sell(city.teller, giver, coin, yen=yen)
    await know(city, giver, receiver)
    return giver, receiver


async def know(city: City, giver: Resident, receiver: Resident) -> None:
    """Let somebody be no new payee to somebody else, by 1 yen of another coin."""
    await make_coin(city.teller, "hello")
    await sell(city.teller, giver, "hello", yen=1_000)
    with pytest.MonkeyPatch.context() as patch:
        plain = Requirement(require=(Acr.DEV,), max_age_s=300)
        patch.setattr(give, "requirement", lambda **_: plain)
        await given(city, gift_of(giver, receiver, "hello", yen=1))


async def given(city: City, request: Give) -> Gave:
    """Give, or fail the test."""
    answer = await answer_to(city.teller, request)
    assert isinstance(answer, Gave), answer
    return answer


async def test_a_gift_moves_paid_money_with_its_last_day(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, receiver = await make_friends(city, coin, yen=10_000)
    request = gift_of(giver, receiver, coin, yen=3_000)
    answer = await given(city, request)
    assert (answer.gift.state, answer.replayed) == ("given", False)
    assert await purses_in(city.engine, giver.wallet_id, coin) == [
        ("paid", date(2027, 3, 31), 7_000, 0)
    ]
    assert await purses_in(city.engine, receiver.wallet_id, coin) == [
        ("paid", date(2027, 3, 31), 3_000, 0)
    ]
    async with city.engine.connect() as connection:
        ((kind, body),) = (await connection.execute(EVENTS, {"id": str(answer.gift.id)})).all()
    assert kind == "gift.given"
    assert body["amount_yen"] == 3_000


async def test_a_repeat_is_answered_as_one_and_moves_nothing(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, receiver = await make_friends(city, coin)
    request = gift_of(giver, receiver, coin)
    first = await given(city, request)
    second = await given(city, replace(request, gift_id=points.gift_of(giver, None, coin).gift_id))
    assert second == replace(first, replayed=True)
    assert await yen_in(city.engine, receiver, coin) == 500
    other = replace(request, amount_yen=501)
    assert await refusal_to(city.teller, other) == "idempotency_conflict"


async def test_money_that_lasts_longest_goes_first(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, receiver = await make_friends(city, coin, yen=1_000)
    await within(
        city.engine,
        lambda c: c.execute(
            text("""
                UPDATE purse SET expires_on = :day WHERE wallet_id = :wallet_id
            """),
            {"day": date(2026, 12, 31), "wallet_id": giver.wallet_id},
        ),
    )
    await sell(city.teller, giver, coin, yen=1_000)
    await given(city, gift_of(giver, receiver, coin, yen=1_500))
    left = [(day, yen) for _, day, yen, _ in await purses_in(city.engine, giver.wallet_id, coin)]
    assert left == [(date(2026, 12, 31), 500), (date(2027, 3, 31), 0)]


@pytest.mark.attack(15)
async def test_free_money_is_not_given_away(city: City) -> None:
    giver, receiver = await make_friends(city, await make_coin(city.teller))
    refusal = await refusal_to(city.teller, gift_of(giver, receiver, "coin"))
    assert refusal == "gift_not_allowed"


async def test_no_more_is_given_than_there_is(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, receiver = await make_friends(city, coin, yen=1_000)
    answer = await answer_to(city.teller, gift_of(giver, receiver, coin, yen=1_001))
    facts = {"available_yen": 1_000, "missing_yen": 1}
    assert answer == Refused(Refusal("balance_insufficient", facts))


@pytest.mark.parametrize(
    ("gifts", "amounts", "code"),
    [
        (Gifts(allowed=True, transfer_max_yen=400), [401], "gift_limit_transfer"),
        (Gifts(allowed=True, month_max_yen=900), [500, 401], "gift_limit_monthly"),
        (
            Gifts(allowed=True),
            [4_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000, 2_000],
            "gift_limit_daily",
        ),
    ],
    ids=["one gift", "the month of the programme", "the day of the tier"],
)
async def test_a_limit_ends_it_to_the_yen(
    city: City, gifts: Gifts, amounts: list[int], code: str
) -> None:
    coin = await make_coin(city.teller, gifts=gifts)
    giver, receiver = await make_friends(city, coin)
    *within_limit, last = amounts
    for yen in within_limit:
        await given(city, gift_of(giver, receiver, coin, yen=yen))
    assert await refusal_to(city.teller, gift_of(giver, receiver, coin, yen=last)) == code
    await given(city, gift_of(giver, receiver, coin, yen=last - 1))


@pytest.mark.attack(27)
async def test_a_crowd_of_gifts_stays_within_the_day(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, receiver = await make_friends(city, coin)
    requests = [gift_of(giver, receiver, coin, yen=4_000) for _ in range(20)]
    answers = await asyncio.gather(*[answer_to(city.teller, one) for one in requests])
    assert sum(isinstance(answer, Gave) for answer in answers) == 7
    assert await yen_in(city.engine, receiver, coin) == 28_000


@pytest.mark.attack(30)
async def test_a_crowd_of_gifts_stays_within_the_month_of_the_programme(city: City) -> None:
    coin = await make_coin(city.teller, gifts=Gifts(allowed=True, month_max_yen=1_000))
    giver, receiver = await make_friends(city, coin)
    requests = [gift_of(giver, receiver, coin, yen=400) for _ in range(20)]
    answers = await asyncio.gather(*[answer_to(city.teller, one) for one in requests])
    assert sum(isinstance(answer, Gave) for answer in answers) == 2
    assert await yen_in(city.engine, receiver, coin) == 800


async def test_residents_money_is_not_given_to_others(city: City) -> None:
    for_residents = Eligibility(resident=True)
    coin = await make_coin(city.teller, eligibility=for_residents)
    giver, receiver = await make_friends(city, coin)
    set_home = text("UPDATE person SET resident = :resident WHERE id = :id")
    for resident, code in ((None, "gift_receiver_unknown"), (False, "gift_receiver_unknown")):
        values = {"resident": resident, "id": receiver.id}
        await within(city.engine, lambda c, v=values: c.execute(set_home, v))  # type: ignore[misc] # its own v
        assert await refusal_to(city.teller, gift_of(giver, receiver, coin)) == code
    await within(city.engine, lambda c: c.execute(set_home, {"resident": True, "id": receiver.id}))
    await given(city, gift_of(giver, receiver, coin))


async def test_two_who_give_to_each_other_at_once_both_succeed(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, receiver = await make_friends(city, coin)
    await sell(city.teller, receiver, coin, yen=50_000)
    await know(city, receiver, giver)
    requests = [
        gift_of(*pair, coin, yen=100)
        for _ in range(20)
        for pair in ((giver, receiver), (receiver, giver))
    ]
    answers = await asyncio.gather(*[answer_to(city.teller, one) for one in requests])
    assert all(isinstance(answer, Gave) for answer in answers)
    assert await yen_in(city.engine, giver, coin) == 50_000


@pytest.mark.attack(6)
async def test_who_changed_how_they_sign_in_gives_nothing_yet(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, receiver = await make_friends(city, coin)
    request = gift_of(giver, receiver, coin, cooling_until=NOW + timedelta(seconds=1))
    assert await refusal_to(city.teller, request) == "gift_cooling_off"
    await within(city.engine, partial(cool_off, person_id=giver.id, because="test", now_us=NOW_US))
    assert await refusal_to(city.teller, gift_of(giver, receiver, coin)) == "gift_cooling_off"


async def test_somebody_frozen_neither_gives_nor_is_given(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, receiver = await make_friends(city, coin)
    await within(city.engine, partial(freeze, person_id=receiver.id, because="own", now_us=NOW_US))
    refusal = await refusal_to(city.teller, gift_of(giver, receiver, coin))
    assert refusal == "gift_receiver_unknown"
    await within(city.engine, partial(freeze, person_id=giver.id, because="own", now_us=NOW_US))
    assert await refusal_to(city.teller, gift_of(giver, receiver, coin)) == "wallet_frozen"


async def test_visitors_neither_give_nor_are_given(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, _ = await make_friends(city, coin)
    visitor = await make_visitor(city.engine, "visitor@example.jp")
    assert visitor.tier is Tier.VISITOR
    assert await refusal_to(city.teller, gift_of(giver, visitor, coin)) == "gift_receiver_unknown"
    assert await refusal_to(city.teller, gift_of(visitor, giver, coin)) == "gift_not_for_tier"


async def test_nobody_gives_to_themselves(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, _ = await make_friends(city, coin)
    assert await refusal_to(city.teller, gift_of(giver, giver, coin)) == "gift_to_self"


async def test_a_full_wallet_takes_no_more(city: City) -> None:
    coin = await make_coin(city.teller, caps=Caps(balance_yen=50_000))
    giver, receiver = await make_friends(city, coin, yen=20_000)
    await sell(city.teller, receiver, coin, yen=49_000)
    await given(city, gift_of(giver, receiver, coin, yen=1_000))
    assert await refusal_to(city.teller, gift_of(giver, receiver, coin)) == "gift_receiver_full"


@pytest.mark.parametrize("scope", ["gift", "all", "programme", "tier:T3"])
async def test_a_stop_holds_gifts_up(city: City, scope: str) -> None:
    coin = await make_coin(city.teller)
    giver, receiver = await make_friends(city, coin)
    scope = f"programme:{coin}" if scope == "programme" else scope
    await engage(city, scope)
    try:
        refusal = await refusal_to(city.teller, gift_of(giver, receiver, coin))
    finally:
        await release(city, scope)
    assert refusal == "service_stopped"
    await given(city, gift_of(giver, receiver, coin))


@pytest.mark.attack(29)
async def test_a_new_payee_and_a_large_gift_are_asked_for(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, receiver = await make_friends(city, coin)
    stranger = await make_person(city.engine)
    asked = await answer_to(city.teller, gift_of(giver, stranger, coin, yen=1))
    assert isinstance(asked, Asked)
    assert asked.operation is Operation.GIFT_NEW_PAYEE
    assert asked.requirement.require == (Acr.PIN,)
    asked = await answer_to(city.teller, gift_of(giver, receiver, coin, yen=5_001))
    assert isinstance(asked, Asked)
    assert asked.operation is Operation.GIFT
    assert await yen_in(city.engine, giver, coin) == 50_000


async def test_a_challenge_that_nobody_passed_moves_nothing(city: City) -> None:
    coin = await make_coin(city.teller)
    giver, _ = await make_friends(city, coin)
    stranger = await make_person(city.engine)
    request = gift_of(giver, stranger, coin, step_up_id=giver.wallet_id)
    assert await refusal_to(city.teller, request) == "step_up_unknown"


async def test_the_proof_is_green_after_gifts(city: City) -> None:
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, failed(proof.checks)

"""Bonuses on payments, on the real ledger: who gets how much, out of what, and never too much."""

from datetime import date
from uuid import UUID

import pytest

from tests.factories.bonuses import bonus, budget_left, grants_of, make_giving
from tests.factories.city import City
from tests.factories.payments import (
    again,
    ask_to_pay,
    ask_together,
    change,
    declined,
    engage,
    fresh,
    make_payer,
    pay,
    release,
)
from tests.factories.people import make_wallet
from tests.factories.residents import make_resident
from tests.factories.vouchers import give, purses_of
from wallet.core.clock import TestClock, japanese_day
from wallet.payments.pay import Paid
from wallet.payments.rules import Earned
from wallet.programmes.rules import Funding

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def holder(city: City, programme: str, *, yen: int = 10_000) -> UUID:
    """Open a wallet that holds money of a programme."""
    wallet_id = await make_wallet(city.engine)
    await give(city.teller, wallet_id, programme, amount_yen=yen)
    return wallet_id


def today(city: City) -> date:
    """Return the day in Japan."""
    return japanese_day(city.clock())


async def test_a_payment_brings_its_bonus_at_once(city: City) -> None:
    await make_giving(city, "points")
    await make_giving(city, "paying", bonus(target="points"))
    wallet_id = await holder(city, "paying")
    request = await fresh(city, wallet_id, amount_yen=1_259)
    payment = await pay(city, request)
    assert payment.earned == (Earned("points", 125, today(city)),)
    assert await purses_of(city.engine, wallet_id) == {"paying free": 8_741, "points free": 125}
    assert await grants_of(city, wallet_id) == [("paying/back", 125, "granted")]
    # What is read back later is what was answered at once.
    assert await ask_to_pay(city, again(city, request)) == Paid(payment, replayed=True)
    assert await purses_of(city.engine, wallet_id) == {"paying free": 8_741, "points free": 125}


async def test_money_of_other_programmes_brings_none(city: City) -> None:
    await make_giving(city, "quiet", bonus())
    wallet_id = await make_payer(city)
    assert (await pay(city, await fresh(city, wallet_id))).earned == ()
    assert await grants_of(city, wallet_id) == []


async def test_the_highest_priority_comes_first_and_an_exclusive_bonus_alone(city: City) -> None:
    await make_giving(
        city,
        "priorities",
        bonus("usual", percent=1),
        bonus("night", percent=5, exclusive=True, priority=1),
        bonus("dear", percent=20, minimum_yen=5_000, priority=2),
    )
    wallet_id = await holder(city, "priorities", yen=20_000)
    await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
    assert await grants_of(city, wallet_id) == [("priorities/night", 50, "granted")]
    await pay(city, await fresh(city, wallet_id, amount_yen=5_000))
    assert sorted(await grants_of(city, wallet_id)) == [
        ("priorities/dear", 1_000, "granted"),
        ("priorities/night", 50, "granted"),
        ("priorities/usual", 50, "granted"),
    ]


async def test_only_what_was_drawn_from_the_programme_counts(city: City) -> None:
    await make_giving(city, "counting", bonus(), last_day=date(2026, 12, 31))
    wallet_id = await holder(city, "counting", yen=300)
    await give(city.teller, wallet_id, "coin", amount_yen=5_000)
    payment = await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
    assert [(part.programme, part.amount_yen) for part in payment.parts] == [
        ("counting", 300),
        ("coin", 700),
    ]
    assert await grants_of(city, wallet_id) == [("counting/back", 30, "granted")]


async def test_a_class_of_money_that_earns_nothing_brings_none(city: City) -> None:
    await make_giving(city, "paid-only", bonus(fundings=frozenset({Funding.PAID})))
    wallet_id = await holder(city, "paid-only")
    assert (await pay(city, await fresh(city, wallet_id))).earned == ()


async def test_a_bonus_can_be_spent_in_the_same_batch_that_brought_it(city: City) -> None:
    await make_giving(city, "again", bonus(percent=100, payment_cap_yen=500))
    wallet_id = await holder(city, "again", yen=500)
    first, second = [await fresh(city, wallet_id, amount_yen=500) for _ in range(2)]
    answers = await ask_together(city, [first, second])
    assert all(isinstance(one, Paid) and one.payment.refusal is None for one in answers)
    assert await purses_of(city.engine, wallet_id) == {"again free": 500}


async def test_a_person_gets_no_more_than_the_cap_of_the_month_and_of_all(city: City) -> None:
    await make_giving(city, "capped", bonus(month_cap_yen=150, total_cap_yen=220))
    wallet_id = await holder(city, "capped", yen=20_000)
    asked = [await fresh(city, wallet_id, amount_yen=1_000) for _ in range(3)]
    answers = await ask_together(city, asked)
    assert [one.payment.earned for one in answers if isinstance(one, Paid)] == [
        (Earned("capped", 100, today(city)),),
        (Earned("capped", 50, today(city)),),
        (),
    ]
    assert isinstance(city.clock, TestClock)
    begun_us = city.clock.now_us
    city.clock.advance(seconds=31 * 86_400)
    await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
    await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
    city.clock.now_us = begun_us
    assert sorted(yen for _, yen, _ in await grants_of(city, wallet_id)) == [50, 70, 100]


async def test_two_wallets_of_one_person_share_a_cap(city: City) -> None:
    await make_giving(city, "shared", bonus(total_cap_yen=150))
    person_id = (await make_resident(city.engine)).id
    wallets = [await make_wallet(city.engine, person_id=person_id) for _ in range(2)]
    for wallet_id in wallets:
        await give(city.teller, wallet_id, "shared", amount_yen=10_000)
    asked = [await fresh(city, wallet_id, amount_yen=1_000) for wallet_id in wallets]
    await ask_together(city, asked)
    granted = [await grants_of(city, wallet_id) for wallet_id in wallets]
    assert [yen for grants in granted for _, yen, _ in grants] == [100, 50]


async def test_a_budget_is_given_to_the_last_yen_and_its_end_stops_no_payment(city: City) -> None:
    # Not to be spent as yet, or it would pay for the next ones and bring nothing.
    await make_giving(city, "purse-of-the-city", budget_yen=250, first_day=date(2026, 12, 31))
    await make_giving(city, "ending", bonus(target="purse-of-the-city"))
    wallet_id = await holder(city, "ending", yen=20_000)
    asked = [await fresh(city, wallet_id, amount_yen=1_000) for _ in range(4)]
    answers = await ask_together(city, asked)
    earned = [one.payment.earned for one in answers if isinstance(one, Paid)]
    assert [sum(one.amount_yen for one in several) for several in earned] == [100, 100, 50, 0]
    assert await budget_left(city, "purse-of-the-city") == 0


async def test_a_stop_of_the_giving_programme_ends_the_bonus_and_no_payment(city: City) -> None:
    await make_giving(city, "halted")
    await make_giving(city, "unhalted", bonus(target="halted"))
    wallet_id = await holder(city, "unhalted")
    await engage(city, "programme:halted")
    payment = await pay(city, await fresh(city, wallet_id))
    await release(city, "programme:halted")
    assert payment.earned == ()


async def test_a_bonus_of_an_unknown_programme_is_none(city: City) -> None:
    await make_giving(city, "dreaming", bonus(target="no-such-programme"))
    wallet_id = await holder(city, "dreaming")
    assert (await pay(city, await fresh(city, wallet_id))).earned == ()


async def test_new_terms_count_from_the_next_payment_on(city: City) -> None:
    await make_giving(city, "revised", bonus())
    wallet_id = await holder(city, "revised")
    await pay(city, await fresh(city, wallet_id))
    await change(
        city,
        "UPDATE programme SET version = version + 1, terms = terms - 'bonuses'"
        " WHERE code = 'revised'",
    )
    await pay(city, await fresh(city, wallet_id))
    assert len(await grants_of(city, wallet_id)) == 1


async def test_a_declined_payment_brings_none(city: City) -> None:
    await make_giving(city, "declining", bonus())
    wallet_id = await holder(city, "declining", yen=500)
    await declined(city, await fresh(city, wallet_id, amount_yen=1_000))
    assert await grants_of(city, wallet_id) == []


async def test_a_programme_that_has_not_begun_gives_nothing(city: City) -> None:
    await make_giving(city, "unborn")
    await make_giving(city, "hopeful", bonus(target="unborn"))
    wallet_id = await holder(city, "hopeful")
    await change(
        city,
        "UPDATE programme SET state = 'scheduled', live_on = '2026-12-01', version = version + 1"
        " WHERE code = 'unborn'",
    )
    assert (await pay(city, await fresh(city, wallet_id))).earned == ()

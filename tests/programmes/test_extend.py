"""Extension: a later last day for purses that are there, where the law allows one."""

import asyncio
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.factories.city import City, make_city
from tests.factories.days import check_proof, events_of, expire, go_to, purse_of, rows_of
from tests.factories.ledger import codes, pending, void
from tests.factories.payments import by_card, change, declined, fresh, make_payer, pay
from tests.factories.programmes import frame, make_programme, spending
from tests.factories.vouchers import give, purses_of
from tests.servers import Database
from wallet.core.database import read, write
from wallet.core.money import LEDGER_JPY
from wallet.core.refusals import RefusedError
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.programmes.extend import (
    Extension,
    check_extension,
    decide_extension,
    extend_due,
    preview_extension,
    renew_used,
)
from wallet.programmes.terms import Expiry, IssuerKind, Kind, ProgrammeDraft, Terms

LAST_DAY = date(2027, 3, 31)
LATER = date(2027, 5, 31)
TODAY = date(2026, 11, 25)


async def decide(city: City, *, to_day: date = LATER, programme: str = "coin") -> UUID:
    """Decide that purses of the last day are good until a later one."""
    extension = Extension(programme=programme, from_day=LAST_DAY, to_day=to_day)
    return await write(
        city.engine,
        lambda connection: decide_extension(
            connection, extension=extension, reason="a test", now_us=city.clock()
        ),
    )


async def extend(city: City) -> int:
    """Have the worker carry out what was decided."""
    return await extend_due(city.engine, database_url=city.database_url, clock=city.clock)


async def test_extended_money_can_be_spent_after_the_old_day_and_expires_after_the_new(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city:
        extension = Extension(programme="coin", from_day=LAST_DAY, to_day=LATER)
        async with read(city.engine) as connection:
            preview = await preview_extension(connection, extension=extension, now_us=city.clock())
        assert preview.purses == 1
        await decide(city)
        assert (await purse_of(city, city.wallet_id))[1] == LAST_DAY, "the worker has yet to do it"
        assert await extend(city) == 1
        assert (await purse_of(city, city.wallet_id))[1] == LATER
        assert await events_of(city, "purses.extended") == [
            {"programme": "coin", "from_day": "2027-03-31", "to_day": "2027-05-31"}
        ]
        assert await extend(city) == 0
        go_to(city, LATER, hour=23)
        assert await expire(city) == 0
        await pay(city, by_card(city, city.card.qr_value))
        go_to(city, LATER + timedelta(days=1))
        assert (await declined(city, by_card(city, city.card.qr_value))).code == (
            "balance_insufficient"
        )
        assert await expire(city) == 1
        await check_proof(city)


async def test_money_joins_a_purse_that_has_the_later_day(database: Database) -> None:
    async with make_city(database.application_url) as city:
        await decide(city)
        await extend(city)
        await give(city.teller, city.wallet_id, amount_yen=500)
        await decide(city)
        assert await extend(city) == 1
        balances = await rows_of(
            city,
            "SELECT p.expires_on, b.credits_posted - b.debits_posted"
            " FROM purse AS p JOIN balance AS b USING (account_id) ORDER BY 1",
        )
        assert balances == [(LAST_DAY, 0), (LATER, 10_500)]
        await give(city.teller, city.wallet_id, amount_yen=70)
        await check_proof(city)
        go_to(city, LAST_DAY + timedelta(days=1))
        assert await expire(city) == 1
        assert (await events_of(city, "purse.expired"))[0]["amount_yen"] == 70


async def test_what_a_hold_keeps_is_extended_once_it_is_released(database: Database) -> None:
    async with make_city(database.application_url) as city:
        await decide(city)
        await extend(city)
        await give(city.teller, city.wallet_id, amount_yen=150)
        ((purse_id,),) = await rows_of(
            city, "SELECT account_id FROM purse WHERE expires_on = :day", day=LAST_DAY
        )
        kind = {"ledger": LEDGER_JPY, "code": TRANSFER_PAYMENT, "user_data_32": 1}
        hold = pending(purse_id, city.merchant.shop_id, 50, **kind)
        assert await codes(city.teller, hold) == ["created"]
        extension_id = await decide(city)
        progress = "SELECT extended, done_at IS NOT NULL FROM purse_extension WHERE id = :id"
        for _ in range(2):
            assert await extend(city) == 0
            assert await rows_of(city, progress, id=extension_id) == [(0, False)]
        assert await codes(city.teller, void(hold)) == ["created"]
        assert await extend(city) == 1
        assert await rows_of(city, progress, id=extension_id) == [(1, True)]
        balances = await rows_of(
            city,
            "SELECT p.expires_on, b.credits_posted - b.debits_posted"
            " FROM purse AS p JOIN balance AS b USING (account_id) ORDER BY 1",
        )
        assert balances == [(LAST_DAY, 0), (LATER, 10_150)]
        await check_proof(city)


async def test_extending_and_paying_side_by_side_lose_nothing(database: Database) -> None:
    async with make_city(database.application_url) as city:
        wallets = [await make_payer(city, yen=1_000) for _ in range(10)]
        await decide(city)
        requests = [await fresh(city, wallet_id, amount_yen=400) for wallet_id in wallets]
        results = await asyncio.gather(
            extend(city), extend(city), *(pay(city, one) for one in requests)
        )
        assert sum(one for one in results if isinstance(one, int)) == 11
        for wallet_id in wallets:
            assert await purses_of(city.engine, wallet_id) == {"coin free": 600}
            assert (await purse_of(city, wallet_id))[1] == LATER
        await check_proof(city)


@pytest.mark.parametrize(
    ("terms", "refused"),
    [
        ({"issuer_kind": IssuerKind.COMPANY}, True),
        ({"issuer_kind": IssuerKind.DESIGNATED_CORP}, True),
        (
            {
                "issuer_kind": IssuerKind.DESIGNATED_CORP,
                "confirmed": frozenset({"L-1.designated"}),
            },
            False,
        ),
        ({"issuer_kind": IssuerKind.COMPANY, "frame": None, "kind": Kind.POINTS}, False),
        ({}, False),
    ],
)
def test_money_that_the_law_on_prepaid_money_binds_is_not_extended(
    terms: dict[str, Any], *, refused: bool
) -> None:
    made = Terms(**{"name": "券", "spending": spending(), "frame": frame(), **terms})
    refusal = check_extension(made, from_day=LAST_DAY, to_day=LATER, today=TODAY)
    assert (refusal is not None) is refused
    if refusal is not None:
        assert (refusal.code, refusal.facts["rule"]) == ("extension_unlawful", "L-2")


@pytest.mark.parametrize(
    ("from_day", "to_day", "code"),
    [
        (TODAY, TODAY + timedelta(days=1), None),
        (TODAY - timedelta(days=1), LATER, "extension_too_late"),
        (LAST_DAY, LAST_DAY, "extension_day_invalid"),
        (LAST_DAY, LAST_DAY + timedelta(days=366), None),
        (LAST_DAY, LAST_DAY + timedelta(days=367), "extension_day_invalid"),
    ],
)
def test_an_extension_is_of_money_that_is_good_by_a_year_at_most(
    from_day: date, to_day: date, code: str | None
) -> None:
    terms = Terms(name="券", spending=spending())
    refusal = check_extension(terms, from_day=from_day, to_day=to_day, today=TODAY)
    assert (None if refusal is None else refusal.code) == code


async def test_one_extension_of_the_same_purses_is_under_way_at_a_time(database: Database) -> None:
    async with make_city(database.application_url) as city:
        await decide(city)
        with pytest.raises(RefusedError) as raised:
            await decide(city, to_day=LATER + timedelta(days=1))
        assert raised.value.refusal.code == "extension_under_way"
        with pytest.raises(RefusedError) as raised:
            await decide(city, programme="nothing")
        assert raised.value.refusal.code == "programme_unknown"


async def test_nothing_to_extend_is_told_before_anybody_is_asked(database: Database) -> None:
    async with make_city(database.application_url) as city:
        extension = Extension(programme="coin", from_day=LATER, to_day=LATER + timedelta(days=1))
        with pytest.raises(RefusedError) as raised:
            async with read(city.engine) as connection:
                await preview_extension(connection, extension=extension, now_us=city.clock())
        assert raised.value.refusal.code == "extension_reaches_nobody"


async def test_money_that_runs_out_after_its_last_use_does_so_after_its_last_use(
    database: Database,
) -> None:
    async with make_city(database.application_url, yen=0) as city:
        draft = ProgrammeDraft(
            code="used",
            name="使うと延びるポイント",
            spending=spending(last_day=date(2030, 3, 31)),
            budget_yen=100_000,
            expiry=Expiry(rule="after_last_use", months=2),
        )
        await make_programme(city.teller, draft)
        user, saver = [await make_payer(city, yen=0) for _ in range(2)]
        for wallet_id in (user, saver):
            await give(city.teller, wallet_id, "used", amount_yen=1_000)
        await change(city, "UPDATE purse SET expires_on = :day", day=date(2027, 1, 31))
        go_to(city, date(2027, 1, 31), hour=23)
        await pay(city, await fresh(city, user, amount_yen=100))
        assert await renew_used(city.engine, database_url=city.database_url, clock=city.clock) == 1
        assert (await purse_of(city, user))[1] == date(2027, 3, 31)
        go_to(city, date(2027, 2, 1))
        assert await expire(city) == 1
        assert await purses_of(city.engine, user) == {"used free": 900}
        assert await purses_of(city.engine, saver) == {"used free": 0}
        assert await renew_used(city.engine, database_url=city.database_url, clock=city.clock) == 0
        await check_proof(city)

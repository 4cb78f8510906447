"""Refunds to buyers: what is left of paid money goes back, its premium to the budget, once."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID, uuid4

import pytest

from tests.factories.city import City, make_city
from tests.factories.days import check_proof, events_of, go_to, rows_of
from tests.factories.moments import japanese
from tests.factories.payments import engage, fresh, make_payer, pay, release
from tests.factories.programmes import frame, make_programme, spending
from tests.factories.vouchers import give, purses_of
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError
from wallet.programmes.legal import Regime
from wallet.programmes.terms import IssuerKind, ProgrammeDraft
from wallet.vouchers.refund_buyers import (
    WALLETS_MAX,
    check_buyers,
    decide_buyer_refunds,
    list_buyer_refunds,
    run_due,
)
from wallet.vouchers.refund_rules import Reason, Room, check_ratio

LAST_DAY = date(2027, 3, 31)
SINCE = date(2026, 10, 1)


async def sell(city: City, *, issuer: IssuerKind = IssuerKind.CITY, buyers: int = 1) -> list[UUID]:
    """Sell one set of a voucher to somebody each and return their wallets."""
    draft = ProgrammeDraft(
        code="voucher", name="商品券", spending=spending(), frame=frame(), issuer_kind=issuer
    )
    await make_programme(city.teller, draft)
    wallets = [await make_payer(city, yen=0) for _ in range(buyers)]
    for wallet_id in wallets:
        await give(city.teller, wallet_id, "voucher", sets=1)
    return wallets


async def decide(
    city: City, wallet_ids: Sequence[UUID], reason: Reason = Reason.MOVING_AWAY
) -> None:
    """Decide that buyers get their money back."""
    await write(
        city.engine,
        lambda connection: decide_buyer_refunds(
            connection,
            programme="voucher",
            wallet_ids=wallet_ids,
            reason=reason,
            now_us=city.clock(),
        ),
    )


async def carry_out(city: City) -> int:
    """Have the worker carry out what was decided."""
    return await run_due(city.engine, city.database_url, city.clock)


async def states(city: City) -> list[tuple[str, str | None, int | None, int | None]]:
    """Return what has come of the refunds, newest first."""
    async with read(city.engine) as connection:
        listed = await list_buyer_refunds(connection, before=None, limit=100)
    return [(row.state, row.refusal, row.paid_yen, row.premium_yen) for row in listed]


async def test_what_is_left_goes_back_and_its_premium_to_the_budget(database: Database) -> None:
    async with make_city(database.application_url) as city:
        (buyer,) = await sell(city)
        await pay(city, await fresh(city, buyer, amount_yen=2_000))
        await decide(city, [buyer])
        assert await purses_of(city.engine, buyer) == {
            "voucher paid": 3_000,
            "voucher premium": 1_250,
        }
        assert await carry_out(city) == 1
        assert await purses_of(city.engine, buyer) == {"voucher paid": 0, "voucher premium": 0}
        assert await states(city) == [("done", None, 3_000, 1_250)]
        clearing = await rows_of(
            city,
            "SELECT b.credits_posted - b.debits_posted FROM programme AS g"
            " JOIN balance AS b ON b.account_id = g.clearing_account_id WHERE g.code = 'voucher'",
        )
        assert clearing == [(-2_000,)], "what was sold and has not gone back"
        (event,) = await events_of(city, "buyer.refunded")
        assert (event["reason"], event["paid_yen"], event["premium_yen"]) == (
            "moving_away",
            3_000,
            1_250,
        )
        assert await carry_out(city) == 0
        await check_proof(city)


async def test_several_workers_refund_each_buyer_once(database: Database) -> None:
    async with make_city(database.application_url) as city:
        buyers = await sell(city, buyers=12)
        await decide(city, buyers)
        assert sum(await asyncio.gather(*(carry_out(city) for _ in range(3)))) == 12
        assert await states(city) == [("done", None, 5_000, 1_250)] * 12
        await check_proof(city)


async def test_who_has_nothing_left_or_is_over_gets_nothing(database: Database) -> None:
    async with make_city(database.application_url) as city:
        spent, late = await sell(city, buyers=2)
        await pay(city, await fresh(city, spent, amount_yen=5_000))
        await decide(city, [spent])
        assert await carry_out(city) == 1
        await decide(city, [late])
        go_to(city, LAST_DAY + timedelta(days=1))
        assert await carry_out(city) == 1
        assert await states(city) == [("refused", "buyer_refund_nothing_left", None, None)] * 2
        assert await purses_of(city.engine, spent) == {"voucher paid": 0, "voucher premium": 1_250}
        await check_proof(city)


async def test_free_money_stays(database: Database) -> None:
    async with make_city(database.application_url) as city:
        (buyer,) = await sell(city)
        await give(city.teller, buyer, "coin", amount_yen=700)
        await decide(city, [buyer])
        await carry_out(city)
        assert (await purses_of(city.engine, buyer))["coin free"] == 700


async def test_a_stopped_programme_refunds_once_it_goes_on(database: Database) -> None:
    async with make_city(database.application_url) as city:
        buyers = await sell(city)
        await decide(city, buyers)
        await engage(city, "programme:voucher")
        assert await carry_out(city) == 0
        await release(city, "programme:voucher")
        assert await carry_out(city) == 1


async def test_a_company_refunds_a_fifth_of_the_half_year_before_and_no_more(
    database: Database,
) -> None:
    clock = TestClock(japanese("2026-09-10T12:00"))
    async with make_city(database.application_url, clock=clock) as city:
        buyers = await sell(city, issuer=IssuerKind.COMPANY, buyers=10)
        go_to(city, date(2026, 11, 25))
        await decide(city, buyers[:5], Reason.DEFECT)
        assert sum(await asyncio.gather(*(carry_out(city) for _ in range(3)))) == 5
        outcomes = [state for state, *_ in await states(city)]
        assert sorted(outcomes) == ["done", "done", "refused", "refused", "refused"]
        assert {code for _, code, *_ in await states(city)} == {None, "buyer_refund_ratio"}
        go_to(city, date(2026, 11, 26))
        await decide(city, buyers[5:], Reason.MOVING_AWAY)
        await carry_out(city)
        assert (await states(city))[:5] == [("done", None, 5_000, 1_250)] * 5
        await check_proof(city)


@pytest.mark.parametrize(
    ("regime", "reason", "paid_yen", "refused"),
    [
        (Regime.REGULATED, Reason.DEFECT, 100, False),
        (Regime.REGULATED, Reason.DEFECT, 101, True),
        (Regime.REGULATED, Reason.LEAVING_JAPAN, 101, False),
        (Regime.REGULATED, Reason.CLOSURE, 101, False),
        (Regime.PUBLIC, Reason.DEFECT, 101, False),
        (Regime.SHORT, Reason.DEFECT, 101, False),
    ],
)
def test_the_ratio_limits_what_the_law_knows_no_exception_for(
    regime: Regime, reason: Reason, paid_yen: int, *, refused: bool
) -> None:
    refusal = check_ratio(
        regime, reason, paid_yen=paid_yen, refunded_yen=900, room=Room(SINCE, 1_000)
    )
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.facts == {"left_yen": 100, "rule": "L-8"}


async def test_a_decision_is_about_known_buyers_of_a_known_programme(database: Database) -> None:
    async with make_city(database.application_url) as city:
        buyers = await sell(city)
        for programme, wallet_ids, code in (
            ("nothing", buyers, "programme_unknown"),
            ("voucher", [uuid4()], "wallet_unknown"),
            ("voucher", [], "buyer_refund_too_many"),
            ("voucher", [uuid4() for _ in range(WALLETS_MAX + 1)], "buyer_refund_too_many"),
        ):
            with pytest.raises(RefusedError) as raised:
                async with read(city.engine) as connection:
                    await check_buyers(connection, programme=programme, wallet_ids=wallet_ids)
            assert raised.value.refusal.code == code

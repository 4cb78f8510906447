"""Taking back: what is unspent of that grant and nothing else; the rest is owed by a person."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.factories.benefits import BENEFIT, YEN, Office, make_office, wallet_row
from tests.factories.city import City, make_city
from tests.factories.days import expire
from tests.factories.ledger import codes, pending, void
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.moments import NOW_US
from tests.factories.payments import ask_together, change, fresh, pay
from tests.factories.people import make_wallet
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.benefits.claw_back import ask_back
from wallet.benefits.queries import list_rows
from wallet.core.database import read, write
from wallet.core.ids import new_id
from wallet.core.money import LEDGER_JPY
from wallet.core.refusals import RefusedError
from wallet.ledger.chart import TRANSFER_MOVE, TRANSFER_PAYMENT
from wallet.ledger.create import create_transfers
from wallet.ledger.rules import Transfer, TransferCode
from wallet.payments.pay import Paid
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLAW_BACKS = text("""
SELECT c.state, c.returned_yen, r.amount_yen FROM benefit_claw_back AS c
LEFT JOIN benefit_receivable AS r ON r.claw_back_id = c.id
WHERE c.grant_id = :grant_id ORDER BY c.id
""")
NUMBER = text("SELECT number FROM programme WHERE code = :code")
BUDGET = text("""
SELECT b.credits_posted - b.debits_posted FROM programme AS p
JOIN balance AS b ON b.account_id = p.budget_account_id WHERE p.code = :code
""")
TOLD = text("""
SELECT body FROM outbox
WHERE kind = 'benefit.clawed_back' AND body->>'grant_id' = :grant_id
""")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city with money of another kind, too."""
    async with make_city(module_database.application_url, yen=10_000) as city:
        yield city


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(city: City) -> Office:
    """Return the office of a benefit."""
    return await make_office(city.engine, city.teller, city.database_url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nursery(city: City) -> Merchant:
    """Return a shop that takes the benefit."""
    return await make_merchant(city.engine, city.teller, category="childcare")


async def granted(office: Office, wallet_id: UUID, *, now_us: int = NOW_US) -> UUID:
    """Grant a wallet a benefit, and return the grant's id."""
    run_id = await office.approved(wallet_row(wallet_id))
    await office.work(now_us=now_us)
    (grant,) = await office.grants(run_id)
    assert grant["state"] == "granted"
    return UUID(str(grant["id"]))


async def spend(city: City, shop: Merchant, wallet_id: UUID, yen: int) -> None:
    """Spend some of what is in a wallet."""
    where = {"merchant_id": shop.id, "terminal_id": shop.terminal_id}
    await pay(city, await fresh(city, wallet_id, amount_yen=yen, **where))


async def take_back(office: Office, grant_id: UUID, yen: int = YEN) -> tuple[int, int | None]:
    """Take a grant back, and return what was returned and what is owed."""
    await decide(office, grant_id, yen)
    await office.work()
    async with read(office.engine) as connection:
        rows = (await connection.execute(CLAW_BACKS, {"grant_id": grant_id})).all()
    assert rows[-1].state == "done"
    return rows[-1].returned_yen, rows[-1].amount_yen


async def decide(office: Office, grant_id: UUID, yen: int) -> UUID:
    """Decide that so much of a grant is to be taken back."""
    return await write(
        office.engine,
        lambda connection: ask_back(
            connection, grant_id=grant_id, amount_yen=yen, because="overpaid", now_us=NOW_US
        ),
    )


async def budget_of(office: Office) -> int:
    """Return what is in the budget."""
    async with read(office.engine) as connection:
        return int((await connection.execute(BUDGET, {"code": BENEFIT})).scalar_one())


async def test_an_unspent_grant_goes_back_to_the_budget_whole(office: Office) -> None:
    before_yen, wallet_id = await budget_of(office), await make_wallet(office.engine)
    grant_id = await granted(office, wallet_id)
    assert await take_back(office, grant_id) == (YEN, None)
    assert await office.held(wallet_id) == {BENEFIT: 0}
    assert await budget_of(office) == before_yen
    assert (await office.grant(grant_id))["state"] == "clawed_back"
    async with read(office.engine) as connection:
        body = (await connection.execute(TOLD, {"grant_id": str(grant_id)})).scalar_one()
    assert (body["returned_yen"], body["receivable_yen"]) == (YEN, 0)


async def test_what_was_spent_is_owed_and_no_wallet_goes_below_nothing(
    office: Office, city: City, nursery: Merchant
) -> None:
    wallet_id = await make_wallet(office.engine)
    grant_id = await granted(office, wallet_id)
    await spend(city, nursery, wallet_id, 7_000)
    assert await take_back(office, grant_id) == (3_000, 7_000)
    assert await office.held(wallet_id) == {BENEFIT: 0}
    run_id = (await office.grant(grant_id))["run_id"]
    async with read(office.engine) as connection:
        (result,) = await list_rows(connection, run_id, after=0, limit=2)
    assert (result.state, result.returned_yen, result.owed_yen) == ("granted", 3_000, 7_000)


async def test_money_of_another_kind_is_never_taken(
    office: Office, city: City, nursery: Merchant
) -> None:
    wallet_id = await make_wallet(office.engine)
    grant_id = await granted(office, wallet_id)
    await spend(city, nursery, wallet_id, YEN)
    await give(city.teller, wallet_id, amount_yen=5_000)
    assert await take_back(office, grant_id) == (0, YEN)
    assert await office.held(wallet_id) == {BENEFIT: 0, "coin": 5_000}


async def test_of_two_grants_in_a_purse_only_the_mistaken_one_is_taken(
    office: Office, city: City, nursery: Merchant
) -> None:
    wallet_id = await make_wallet(office.engine)
    older_id = await granted(office, wallet_id)
    newer_id = await granted(office, wallet_id, now_us=NOW_US + 1)
    await spend(city, nursery, wallet_id, 4_000)  # Of the older one, as it came first.
    assert await take_back(office, older_id) == (6_000, 4_000)
    assert await office.held(wallet_id) == {BENEFIT: YEN}
    assert await take_back(office, newer_id) == (YEN, None)


async def test_taking_back_beside_payments_takes_what_they_leave_and_no_more(
    office: Office, city: City, nursery: Merchant
) -> None:
    wallet_id = await make_wallet(office.engine)
    grant_id = await granted(office, wallet_id)
    where = {"merchant_id": nursery.id, "terminal_id": nursery.terminal_id}
    requests = [await fresh(city, wallet_id, amount_yen=1_000, **where) for _ in range(8)]
    await decide(office, grant_id, YEN)
    paid, _ = await asyncio.gather(ask_together(city, requests), office.work())
    spent_yen = 1_000 * sum(
        isinstance(one, Paid) and one.payment.state == "succeeded" for one in paid
    )
    async with read(office.engine) as connection:
        row = (await connection.execute(CLAW_BACKS, {"grant_id": grant_id})).one()
    assert (row.returned_yen, row.amount_yen or 0) == (YEN - spent_yen, spent_yen)
    assert await office.held(wallet_id) == {BENEFIT: 0}


async def test_money_that_moved_to_another_purse_is_followed_there(office: Office) -> None:
    lost_id, taken_over_id = await make_wallet(office.engine), await make_wallet(office.engine)
    older_id = await granted(office, lost_id)
    newer_id = await granted(office, taken_over_id, now_us=NOW_US + 1)
    older, newer = await office.grant(older_id), await office.grant(newer_id)
    async with read(office.engine) as connection:
        number = (await connection.execute(NUMBER, {"code": BENEFIT})).scalar_one()
    moved = Transfer(
        new_id(now_us=NOW_US),
        older["account_id"],
        newer["account_id"],
        YEN,
        LEDGER_JPY,
        TRANSFER_MOVE,
        user_data_128=lost_id,
        user_data_32=number,
    )
    (result,) = await create_transfers(office.teller, [moved])
    assert result.code is TransferCode.CREATED
    assert await take_back(office, older_id) == (YEN, None)
    assert await office.held(taken_over_id) == {BENEFIT: YEN}
    assert await take_back(office, newer_id) == (YEN, None)
    assert await office.held(taken_over_id) == {BENEFIT: 0}


async def test_what_expired_is_in_the_budget_and_owed_by_nobody(
    office: Office, city: City, nursery: Merchant
) -> None:
    wallet_id = await make_wallet(office.engine)
    older_id = await granted(office, wallet_id)
    newer_id = await granted(office, wallet_id, now_us=NOW_US + 1)
    await spend(city, nursery, wallet_id, 4_000)  # Of the older one, as it came first.
    over = date(2026, 1, 31)
    await change(
        city, "UPDATE purse SET expires_on = :day WHERE wallet_id = :id", day=over, id=wallet_id
    )
    assert await expire(city) == 1
    assert await office.held(wallet_id) == {BENEFIT: 0}
    assert await take_back(office, newer_id) == (0, None)
    assert await take_back(office, older_id, 6_000) == (0, None)
    await decide(office, older_id, 4_000)
    await office.work()
    async with read(office.engine) as connection:
        rows = (await connection.execute(CLAW_BACKS, {"grant_id": older_id})).all()
    assert {tuple(row) for row in rows} == {("done", 0, None), ("done", 0, 4_000)}


async def test_what_a_hold_keeps_is_not_owed_while_it_is_open(office: Office, city: City) -> None:
    wallet_id = await make_wallet(office.engine)
    grant_id = await granted(office, wallet_id)
    purse_id = (await office.grant(grant_id))["account_id"]
    async with read(office.engine) as connection:
        number = (await connection.execute(NUMBER, {"code": BENEFIT})).scalar_one()
    kind = {"ledger": LEDGER_JPY, "code": TRANSFER_PAYMENT, "user_data_32": number}
    hold = pending(purse_id, city.merchant.shop_id, 4_000, **kind)
    assert await codes(city.teller, hold) == ["created"]
    await decide(office, grant_id, YEN)
    assert (await office.work()).taken_back == 0
    assert await office.held(wallet_id) == {BENEFIT: YEN}
    assert await codes(city.teller, void(hold)) == ["created"]
    assert (await office.work()).taken_back == 1
    async with read(office.engine) as connection:
        rows = (await connection.execute(CLAW_BACKS, {"grant_id": grant_id})).all()
    assert [tuple(row) for row in rows] == [("done", YEN, None)]


async def test_only_what_was_too_much_is_taken_and_the_rest_stays_granted(office: Office) -> None:
    wallet_id = await make_wallet(office.engine)
    grant_id = await granted(office, wallet_id)
    assert await take_back(office, grant_id, 2_500) == (2_500, None)
    grant = await office.grant(grant_id)
    assert (grant["state"], grant["returned_yen"]) == ("granted", 2_500)
    with pytest.raises(RefusedError, match="claw_back_too_much") as caught:
        await decide(office, grant_id, 7_501)
    assert caught.value.refusal.facts == {"left_yen": 7_500}


async def test_a_grant_is_taken_back_once_at_a_time(office: Office) -> None:
    grant_id = await granted(office, await make_wallet(office.engine))
    await decide(office, grant_id, 1_000)
    with pytest.raises(RefusedError, match="claw_back_under_way"):
        await decide(office, grant_id, 1_000)
    rounds = await asyncio.gather(*[office.work() for _ in range(3)])
    assert sum(one.taken_back for one in rounds) == 1
    assert (await office.grant(grant_id))["returned_yen"] == 1_000


async def test_what_was_taken_back_whole_may_be_granted_right_in_the_same_period(
    office: Office,
) -> None:
    wallet_id, period = await make_wallet(office.engine), "once-more"
    first = await office.approved(wallet_row(wallet_id), period=period)
    await office.work()
    (grant,) = await office.grants(first)
    assert await take_back(office, grant["id"]) == (YEN, None)
    run_id = await office.approved(wallet_row(wallet_id, amount=3_000), period=period)
    await office.work()
    assert await office.states(run_id) == ["granted"]
    assert await office.held(wallet_id) == {BENEFIT: 3_000}


async def test_what_was_never_granted_is_not_taken_back(office: Office) -> None:
    run_id = await office.approved(wallet_row(await make_wallet(office.engine)))
    (grant,) = await office.grants(run_id)
    with pytest.raises(RefusedError, match="benefit_grant_unknown"):
        await decide(office, grant["id"], YEN)


async def test_after_all_of_it_every_yen_is_proven(office: Office) -> None:
    proof = await prove(office.engine, now_us=NOW_US)
    assert proof.ok, proof.as_dict()

"""A stop while two processes settle money as fast as they can."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.factories.city import City, make_city
from tests.factories.ledger import (
    account,
    codes,
    open_accounts,
    open_connection,
    open_teller,
    transfer,
)
from tests.factories.moments import NOW_US
from tests.factories.payments import PAY, by_card, engage, release
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import Connection
from wallet.core.refusals import RefusedError
from wallet.ledger.teller import Teller
from wallet.payments.pay import Paid, Refused

CALLERS = 12
ROUNDS = 4
PATIENCE_S = 10.0

Call = Callable[[Teller], Awaitable[bool]]


@asynccontextmanager
async def load(call: Call, *tellers: Teller) -> AsyncIterator[dict[str, int]]:
    """Let callers of all tellers call without a pause, and count how they fare."""
    told = {"done": 0, "stopped": 0}
    is_over = asyncio.Event()

    async def go_on(teller: Teller) -> None:
        while not is_over.is_set():
            told["done" if await call(teller) else "stopped"] += 1

    callers = [asyncio.create_task(go_on(one)) for one in tellers for _ in range(CALLERS)]
    try:
        yield told
    finally:
        is_over.set()
        await asyncio.gather(*callers)


async def some_more(told: dict[str, int], kind: str) -> None:
    """Wait until the callers have heard more of a kind."""
    enough = told[kind] + CALLERS
    async with asyncio.timeout(PATIENCE_S):
        while told[kind] < enough:  # noqa: ASYNC110 - the callers' loop is what is waited for
            await asyncio.sleep(0.001)


async def stop_again_and_again(
    city: City, scope: str, told: dict[str, int], connection: Connection, count: str
) -> None:
    """Engage and release under load; between the two, nothing may be added to the count."""
    for _ in range(ROUNDS):
        await some_more(told, "done")
        async with asyncio.timeout(PATIENCE_S):
            await engage(city, scope)
        at_stop = await connection.fetchval(count)
        await some_more(told, "stopped")
        assert await connection.fetchval(count) == at_stop
        await release(city, scope)
    await some_more(told, "done")


async def test_nothing_is_booked_once_the_stop_of_all_has_returned(database: Database) -> None:
    clock, url = TestClock(NOW_US), database.application_url
    async with (
        make_city(url, clock=clock) as city,
        open_teller(url, clock=clock, lanes=2) as second,
        open_connection(url) as connection,
    ):
        accounts = await open_accounts(second, *(account(min_available=-(10**6)) for _ in range(4)))

        async def call(teller: Teller) -> bool:
            payer, payee = accounts[:2] if teller is second else accounts[2:]
            try:
                return await codes(teller, transfer(payer, payee, 1)) == ["created"]
            except RefusedError:
                return False

        async with load(call, city.teller, second) as told:
            await stop_again_and_again(
                city, "all", told, connection, "SELECT count(*) FROM transfer"
            )
        assert (
            await connection.fetchval("SELECT count(*) FROM transfer WHERE ledger = 1")
            == told["done"]
        )


async def test_nobody_pays_once_the_stop_of_payments_has_returned(database: Database) -> None:
    clock, url = TestClock(NOW_US), database.application_url
    async with (
        make_city(url, yen=1_000_000, clock=clock) as city,
        open_teller(url, clock=clock, lanes=2) as second,
        open_connection(url) as connection,
    ):

        async def call(teller: Teller) -> bool:
            request = by_card(city, city.card.qr_value, amount_yen=1)
            answer: Paid | Refused = await teller.submit(PAY, request)
            if isinstance(answer, Refused):
                assert answer.refusal.code == "service_stopped"
                return False
            assert answer.payment.refusal is None
            return True

        async with load(call, city.teller, second) as told:
            await stop_again_and_again(
                city, "pay", told, connection, "SELECT count(*) FROM payment"
            )
        assert await connection.fetchval("SELECT count(*) FROM payment") == told["done"]

"""The smallest city in which somebody can pay: one merchant, one wallet with money, one card."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.merchants import Merchant, make_merchant
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.people import make_card, make_wallet
from tests.factories.programmes import free_draft, make_programme
from tests.factories.vouchers import give
from wallet.auth.rules import Acr, FactorClass
from wallet.core.clock import Clock, TestClock, to_datetime
from wallet.core.database import connect, make_engine
from wallet.ledger.teller import Teller
from wallet.payments.issue_codes import GivenTo, issue_codes
from wallet.payments.rules import Level
from wallet.people.issue_cards import IssuedCard


def after_pin(now_us: int) -> GivenTo:
    """Return that a code is for somebody who has just entered a PIN, so that no amount is asked."""
    classes = (FactorClass.KNOWLEDGE, FactorClass.POSSESSION)
    return GivenTo(level=Level(Acr.PIN, classes, to_datetime(now_us)))


@dataclass(frozen=True, kw_only=True)
class City:
    """A city with a teller that is running, and what one can pay with in it."""

    database_url: str
    engine: AsyncEngine
    teller: Teller
    clock: Clock
    merchant: Merchant
    wallet_id: UUID
    card: IssuedCard
    code: str
    pepper: bytes = PEPPER

    async def codes(self, count: int = 1, *, wallet_id: UUID | None = None) -> list[str]:
        """Issue one-time codes for the wallet, or for another one, as after a PIN."""
        return await issue_codes(
            self.engine,
            wallet_ids=[wallet_id or self.wallet_id] * count,
            pepper=self.pepper,
            now_us=self.clock(),
            given_to=after_pin(self.clock()),
        )


@asynccontextmanager
async def open_rooms(
    database_url: str, *, clock: Clock | None = None, lanes: int = 2
) -> AsyncIterator[tuple[AsyncEngine, Teller]]:
    """Yield an engine and a running teller on an empty city, closed afterwards."""
    engine = make_engine(database_url, pool_size=4, application_name="tests")
    teller = Teller(
        connect=lambda: connect(database_url, application_name="tests"),
        clock=clock or TestClock(NOW_US),
        lanes=lanes,
        alone_max=0,
    )
    await teller.start()
    try:
        yield engine, teller
    finally:
        await teller.close()
        await engine.dispose()


@asynccontextmanager
async def make_city(
    database_url: str, *, yen: int = 10_000, clock: Clock | None = None, lanes: int = 2
) -> AsyncIterator[City]:
    """Yield a city whose wallet has ``yen`` of free money, a card, and a fresh code."""
    clock = clock or TestClock(NOW_US)
    async with open_rooms(database_url, clock=clock, lanes=lanes) as (engine, teller):
        await make_programme(teller, free_draft(budget_yen=max(yen, 1) * 1_000))
        wallet_id = await make_wallet(engine)
        if yen:
            await give(teller, wallet_id, amount_yen=yen)
        (code,) = await issue_codes(
            engine,
            wallet_ids=[wallet_id],
            pepper=PEPPER,
            now_us=clock(),
            given_to=after_pin(clock()),
        )
        yield City(
            database_url=database_url,
            engine=engine,
            teller=teller,
            clock=clock,
            merchant=await make_merchant(engine, teller),
            wallet_id=wallet_id,
            card=await make_card(engine, wallet_id),
            code=code,
        )

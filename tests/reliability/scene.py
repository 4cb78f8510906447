"""A small city on the real clock: its wallets never run dry, and everybody pays in few shops."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.city import open_rooms
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.moments import PEPPER
from tests.factories.people import make_card, make_wallet
from tests.factories.programmes import frame, free_draft, make_programme, voucher_draft
from tests.factories.vouchers import give
from wallet.core.clock import system_clock
from wallet.core.database import make_engine
from wallet.payments.issue_codes import EXPIRES_S_MAX, issue_codes

WALLETS: Final = 12
MERCHANTS: Final = 3
RICH_YEN: Final = 100_000_000

# The real clock may show any day.
_ALWAYS: Final = {"first_day": date(2000, 1, 1), "last_day": date(2199, 12, 31)}
_SOONER: Final = {**_ALWAYS, "last_day": date(2198, 12, 31)}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where money is spent and with what; ``cards`` are the QR values of printed ones."""

    database_url: str
    merchants: tuple[Merchant, ...]
    wallet_ids: tuple[UUID, ...]
    cards: tuple[str, ...]

    async def codes(self, count: int) -> list[str]:
        """Issue one-time codes that outlast the test, for one wallet after the other."""
        wallet_ids = [self.wallet_ids[number % len(self.wallet_ids)] for number in range(count)]
        async with engine_for(self.database_url) as engine:
            return await issue_codes(
                engine,
                wallet_ids=wallet_ids,
                pepper=PEPPER,
                now_us=system_clock(),
                expires_s=EXPIRES_S_MAX,
            )


@asynccontextmanager
async def engine_for(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield an engine whose connections are all new, for servers die between two uses."""
    engine = make_engine(database_url, pool_size=2, application_name="tests")
    try:
        yield engine
    finally:
        await engine.dispose()


async def make_scene(
    database_url: str, *, name: str = "coin", wallets: int = WALLETS, merchants: int = MERCHANTS
) -> Scene:
    """Open the city; ``name`` tells its programmes from those of other scenes.

    Each wallet's voucher is soon spent, so that some payments are a chain of several transfers.
    """
    async with open_rooms(database_url, clock=system_clock) as (engine, teller):
        budget_yen = RICH_YEN * wallets
        await make_programme(teller, free_draft(name, budget_yen=budget_yen, **_ALWAYS))
        voucher = f"{name}-voucher"
        await make_programme(teller, voucher_draft(voucher, frame_=frame(), **_SOONER))
        limits = {"payment_limit_yen": RICH_YEN, "daily_limit_yen": 10 * RICH_YEN}
        wallet_ids = [await make_wallet(engine, **limits) for _ in range(wallets)]
        await asyncio.gather(*(give(teller, i, name, amount_yen=RICH_YEN) for i in wallet_ids))
        await asyncio.gather(*(give(teller, i, voucher, sets=1) for i in wallet_ids))
        cards = [await make_card(engine, wallet_id, **limits) for wallet_id in wallet_ids]
        return Scene(
            database_url=database_url,
            merchants=tuple([await make_merchant(engine, teller) for _ in range(merchants)]),
            wallet_ids=tuple(wallet_ids),
            cards=tuple(card.qr_value for card in cards),
        )


def payees(scene: Scene) -> Sequence[UUID]:
    """Return the ids of the scene's merchants."""
    return [merchant.id for merchant in scene.merchants]

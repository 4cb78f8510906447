"""Seeding: a whole small city, once, even when it was interrupted."""

import stat
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress, TaskID
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database, Server
from wallet.core.clock import Clock, TestClock
from wallet.core.database import make_engine, read
from wallet.core.ids import keyed_hash
from wallet.core.refusals import RefusedError
from wallet.demo.secrets import read_secrets
from wallet.demo.seed import DemoSummary, seed_demo
from wallet.ledger.verify import verify
from wallet.merchants.authenticate import KeyRing, Principal

WALLETS, SHOPS = 50, 10

# What is seeded of each kind; moments and secrets left out, for they may differ.
CONTENT = {
    "programmes": "SELECT code, number, terms FROM programme ORDER BY code",
    "merchants": "SELECT id, name FROM merchant ORDER BY id",
    "shops": "SELECT id, merchant_id, name, category, small FROM shop ORDER BY id",
    "terminals": "SELECT id, shop_id FROM terminal ORDER BY id",
    "wallets": "SELECT id, holder FROM wallet ORDER BY id",
    "purses": "SELECT p.wallet_id, p.funding, b.credits_posted FROM purse AS p"
    " JOIN balance AS b ON b.account_id = p.account_id ORDER BY 1, p.account_id",
    "transfers": "SELECT count(*), sum(amount)::bigint FROM transfer",
}
CARD = text("SELECT payment_limit_yen FROM card WHERE number_hash = :number_hash")
DAY_S = 86_400.0


class Interrupted(Exception):  # noqa: N818 - it is no fault, but somebody's Ctrl-C
    """Somebody has had enough."""


class Patience:
    """Lasts for a number of steps: looks at the clock and movements of the progress bar."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        """Count, and break off when it is time."""
        self.left -= 1
        if self.left < 0:
            raise Interrupted

    def clock(self, clock: Clock) -> Clock:
        """Return the clock, looked at with patience."""

        def look() -> int:
            self.step()
            return clock()

        return look

    def progress(self) -> Progress:
        """Return a progress bar that nobody sees."""
        patience = self

        class Impatient(Progress):
            def advance(self, task_id: TaskID, advance: float = 1) -> None:
                super().advance(task_id, advance)
                patience.step()

        return Impatient(disable=True)


class Site:
    """A place to build a city on."""

    def __init__(self, database: Database, engine: AsyncEngine, folder: Path) -> None:
        self.database = database
        self.engine = engine
        self.path = folder / "demo.json"
        self.clock = TestClock(NOW_US)

    async def seed(self, **changes: Any) -> DemoSummary:  # noqa: ANN401 - knobs of many types
        """Seed the small city, with ``changes``."""
        knobs: dict[str, Any] = {
            "engine": self.engine,
            "database_url": self.database.application_url,
            "pepper": PEPPER,
            "livemode": False,
            "secrets_path": self.path,
            "clock": self.clock,
            "progress": Progress(disable=True),
            "wallets": WALLETS,
            "shops": SHOPS,
        }
        return await seed_demo(**{**knobs, **changes})

    async def content(self) -> dict[str, list[tuple[object, ...]]]:
        """Return everything that was seeded."""
        async with read(self.engine) as connection:
            return {
                kind: [tuple(row) for row in await connection.execute(text(query))]
                for kind, query in CONTENT.items()
            }


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    """Yield an empty site."""
    engine = make_engine(database.application_url, pool_size=2, application_name="tests")
    yield Site(database, engine, tmp_path)
    await engine.dispose()


async def test_a_seeded_city_has_people_shops_and_money_that_adds_up(site: Site) -> None:
    summary = await site.seed()
    # Besides what was asked for, the shop and the wallet to try things with.
    assert (summary.seeded, summary.wallets, summary.shops) == (True, WALLETS + 1, SHOPS + 1)
    assert summary.terminals >= summary.shops
    demo_yen = 10 * (6_250 + 7_500 + 7_500)
    assert demo_yen + WALLETS * 6_250 <= summary.circulating_yen
    assert (await verify(site.engine, site.clock())).ok


async def test_the_key_and_the_card_that_are_kept_work(site: Site) -> None:
    await site.seed()
    secrets = read_secrets(site.path)
    assert secrets is not None
    assert stat.S_IMODE(site.path.stat().st_mode) == 0o600
    ring = KeyRing(engine=site.engine, pepper=PEPPER, livemode=False, clock=site.clock, kept_s=1.0)
    principal = await ring.authenticate(f"Bearer {secrets.api_key}")
    assert isinstance(principal, Principal)
    assert secrets.merchant_id == f"mer_{principal.merchant_id.hex}"
    number_hash = keyed_hash(secrets.card_value, pepper=PEPPER)
    async with read(site.engine) as connection:
        (limit_yen,) = (await connection.execute(CARD, {"number_hash": number_hash})).one()
    assert limit_yen == 10_000


async def test_a_seeded_city_is_found_and_left_alone(site: Site) -> None:
    first = await site.seed()
    before = await site.content()
    site.clock.advance(seconds=DAY_S)
    second = await site.seed()
    assert (second.seeded, second.secrets) == (False, first.secrets)
    assert await site.content() == before


async def test_lost_secrets_are_made_anew_for_the_same_city(site: Site) -> None:
    first = await site.seed()
    before = await site.content()
    site.path.unlink()
    site.clock.advance(seconds=DAY_S)
    second = await site.seed()
    assert second.secrets.wallet_id == first.secrets.wallet_id
    assert second.secrets.api_key != first.secrets.api_key
    assert await site.content() == before


async def test_a_seeding_that_is_interrupted_at_every_step_becomes_the_same_city(
    site: Site, server: Server, tmp_path: Path
) -> None:
    with server.database() as database:
        engine = make_engine(database.application_url, pool_size=2, application_name="tests")
        undisturbed = Site(database, engine, tmp_path / "undisturbed")
        await undisturbed.seed()
        expected = await undisturbed.content()
        await engine.dispose()
    for steps in count():
        patience = Patience(steps)
        try:
            await site.seed(clock=patience.clock(site.clock), progress=patience.progress())
        except Interrupted:
            assert not site.path.exists()
        else:
            break
        if (await site.content())["programmes"]:
            # A night goes by, and still it is the day of foundation that counts.
            site.clock.advance(seconds=DAY_S)
    assert steps > 10
    assert await site.content() == expected
    assert (await verify(site.engine, site.clock())).ok


async def test_money_that_is_real_meets_no_demonstration(site: Site) -> None:
    with pytest.raises(RefusedError) as refused:
        await site.seed(livemode=True)
    assert refused.value.refusal.code == "demo_in_live_mode"
    assert (await site.content())["wallets"] == []

"""Seed the demonstration city, through the same doors as any other city.

Every step can be repeated without effect, because the ids of everything are derived from the seed
number and the moment of foundation, which the first programme keeps. So an interrupted seeding
goes on where it was, and a finished one is found by the key and the card that still work.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Final
from uuid import UUID

from rich.progress import Progress
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import Clock, japanese_day, to_microseconds
from wallet.core.database import read
from wallet.core.ids import align_id, keyed_hash, public_id
from wallet.core.refusals import RefusedError
from wallet.demo.city import City
from wallet.demo.secrets import DemoSecrets, read_secrets, write_secrets
from wallet.demo.terms import read_demo_drafts
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.teller import Teller
from wallet.merchants.issue_api_key import issue_api_key
from wallet.merchants.register_merchants import (
    MERCHANTS_PER_REQUEST,
    NewMerchant,
    NewShop,
    register_merchants,
)
from wallet.merchants.rules import CATEGORIES
from wallet.people.issue_cards import NewCard, issue_cards
from wallet.people.open_wallets import WALLETS_PER_TRANSACTION, NewWallet, open_wallets
from wallet.programmes.create_programme import create_programme
from wallet.programmes.terms import ProgrammeDraft
from wallet.vouchers.issue import Refused
from wallet.vouchers.issue_many import issue_many
from wallet.vouchers.rules import IssueRequest

WALLETS: Final = 20_000
SHOPS: Final = 2_000
SEED: Final = 7
TERMS: Final = Path(__file__).parents[2] / "demo" / "himeji-r7.toml"

DEMO_SETS: Final = 10
DEMO_CARD_PAYMENT_LIMIT_YEN: Final = 10_000
DEMO_CARD_DAILY_LIMIT_YEN: Final = 100_000

_FOUNDED = text("SELECT min(created_at) FROM programme WHERE code = ANY(:codes)")
_STILL_WORKS = text("""
SELECT EXISTS (SELECT FROM api_key WHERE key_hash = :key_hash AND revoked_at IS NULL)
   AND EXISTS (SELECT FROM card WHERE number_hash = :card_hash AND state = 'active')
""")
_COUNT = text("""
SELECT (SELECT count(*) FROM wallet), (SELECT count(*) FROM shop),
       (SELECT count(*) FROM terminal),
       (SELECT coalesce(sum(b.credits_posted - b.debits_posted), 0)::bigint
        FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id)
""")


@dataclass(frozen=True, kw_only=True)
class DemoSummary:
    """What there is to try. ``seeded`` is False when the city was there already."""

    seeded: bool
    wallets: int
    shops: int
    terminals: int
    circulating_yen: int
    secrets: DemoSecrets


@dataclass(frozen=True, kw_only=True)
class Seeder:
    """What every step of seeding works with."""

    engine: AsyncEngine
    teller: Teller
    pepper: bytes
    clock: Clock
    progress: Progress


async def seed_demo(  # noqa: PLR0913 - a city has this many knobs, each with its default
    *,
    engine: AsyncEngine,
    database_url: str,
    pepper: bytes,
    livemode: bool,
    secrets_path: Path,
    clock: Clock,
    progress: Progress,
    wallets: int = WALLETS,
    shops: int = SHOPS,
    seed: int = SEED,
) -> DemoSummary:
    """Seed the city, or find it seeded, and return what to try.

    Raises :class:`RefusedError` ``demo_in_live_mode``: the demonstration's money is not money.
    """
    if livemode:
        raise RefusedError("demo_in_live_mode")
    secrets = read_secrets(secrets_path)
    if secrets and (secrets.seed, secrets.wallets, secrets.shops) != (seed, wallets, shops):
        secrets = None
    if secrets is not None and await _still_works(engine, secrets, pepper):
        return await _summary(engine, secrets, seeded=False)
    toml = await asyncio.to_thread(TERMS.read_text, encoding="utf-8")
    async with bulk_teller(database_url, clock=clock) as teller:
        seeder = Seeder(engine=engine, teller=teller, pepper=pepper, clock=clock, progress=progress)
        secrets = await _seed(seeder, toml, seed=seed, wallets=wallets, shops=shops)
    write_secrets(secrets_path, secrets)
    return await _summary(engine, secrets, seeded=True)


async def _still_works(engine: AsyncEngine, secrets: DemoSecrets, pepper: bytes) -> bool:
    """Whether the kept key and card are of this very database."""
    hashes = {
        "key_hash": keyed_hash(secrets.api_key, pepper=pepper),
        "card_hash": keyed_hash(secrets.card_value, pepper=pepper),
    }
    async with read(engine) as connection:
        return bool((await connection.execute(_STILL_WORKS, hashes)).scalar_one())


async def _summary(engine: AsyncEngine, secrets: DemoSecrets, *, seeded: bool) -> DemoSummary:
    async with read(engine) as connection:
        counts = (await connection.execute(_COUNT)).one()
    return DemoSummary(
        seeded=seeded,
        wallets=counts[0],
        shops=counts[1],
        terminals=counts[2],
        circulating_yen=counts[3],
        secrets=secrets,
    )


async def _seed(seeder: Seeder, toml: str, *, seed: int, wallets: int, shops: int) -> DemoSecrets:
    drafts, founded_us = await _found(seeder, toml)
    city = City(seed=seed, founded_us=founded_us, wallets=wallets, shops=shops)
    # What there is to try comes first, so that a city too large for its campaign cannot take it.
    await _register(seeder, chain([_demo_merchant(city)], city.merchants()), shops=shops + 1)
    await _open(seeder, [NewWallet(_demo_wallet_id(city)), *city.residents()])
    await _issue(seeder, [*_demo_purchases(city, drafts), *city.purchases()])
    return await _make_secrets(seeder, city)


async def _found(seeder: Seeder, toml: str) -> tuple[list[ProgrammeDraft], int]:
    """Create the programmes; return them, and when the first of them was created."""
    now_us = seeder.clock()
    drafts = read_demo_drafts(toml, today=japanese_day(now_us))
    founded_us = await _founded_us(seeder.engine, drafts)
    if founded_us is not None:
        # An interrupted seeding goes on with the days it began with.
        drafts = read_demo_drafts(toml, today=japanese_day(founded_us))
    for draft in drafts:
        await create_programme(
            seeder.teller, draft=draft, now_us=now_us, known_categories=CATEGORIES
        )
    return drafts, founded_us or await _founded_us(seeder.engine, drafts) or now_us


async def _founded_us(engine: AsyncEngine, drafts: Sequence[ProgrammeDraft]) -> int | None:
    async with read(engine) as connection:
        codes = [draft.code for draft in drafts]
        founded = (await connection.execute(_FOUNDED, {"codes": codes})).scalar_one()
    return None if founded is None else to_microseconds(founded)


async def _register(seeder: Seeder, merchants: Iterator[NewMerchant], *, shops: int) -> None:
    task = seeder.progress.add_task("加盟店", total=shops)
    while group := list(islice(merchants, MERCHANTS_PER_REQUEST)):
        await register_merchants(seeder.teller, merchants=group)
        seeder.progress.advance(task, sum(len(merchant.shops) for merchant in group))


async def _open(seeder: Seeder, wallets: Sequence[NewWallet]) -> None:
    task = seeder.progress.add_task("ウォレット", total=len(wallets))
    for start in range(0, len(wallets), WALLETS_PER_TRANSACTION):
        group = wallets[start : start + WALLETS_PER_TRANSACTION]
        await open_wallets(seeder.engine, wallets=group, now_us=seeder.clock())
        seeder.progress.advance(task, len(group))


async def _issue(seeder: Seeder, requests: Sequence[IssueRequest]) -> None:
    task = seeder.progress.add_task("しらさぎ商品券", total=len(requests))
    answers = await issue_many(
        seeder.teller,
        requests=requests,
        on_progress=lambda count: seeder.progress.advance(task, count),
    )
    for answer in answers:
        # A city larger than its campaign runs out of sets, as it would in life.
        if isinstance(answer, Refused) and answer.refusal.code != "sets_sold_out":
            raise RefusedError(answer.refusal.code, **answer.refusal.facts)


def _demo_merchant(city: City) -> NewMerchant:
    """The merchant whose key the demonstration hands out."""
    shop = NewShop(
        city.id_of("demo shop", 0),
        "見本商店 本町店",
        "groceries",
        small=True,
        terminal_ids=(city.id_of("demo terminal", 0),),
    )
    return NewMerchant(city.id_of("demo merchant", 0), "見本商店", (shop,))


def _demo_wallet_id(city: City) -> UUID:
    """The wallet of the resident whose card the demonstration hands out."""
    return city.id_of("demo wallet", 0)


def _demo_purchases(city: City, drafts: Sequence[ProgrammeDraft]) -> list[IssueRequest]:
    """All that one person may have, of every programme."""
    return [
        IssueRequest(
            issue_id=align_id(city.id_of("demo issue", number)),
            wallet_id=_demo_wallet_id(city),
            programme=draft.code,
            sets=DEMO_SETS,
        )
        for number, draft in enumerate(drafts)
    ]


async def _make_secrets(seeder: Seeder, city: City) -> DemoSecrets:
    """Issue the key and the card; last of all, because that cannot be done twice."""
    merchant_id, wallet_id = city.id_of("demo merchant", 0), _demo_wallet_id(city)
    now_us = seeder.clock()
    key = await issue_api_key(
        seeder.engine,
        merchant_id=merchant_id,
        livemode=False,
        pepper=seeder.pepper,
        now_us=now_us,
    )
    new_card = NewCard(wallet_id, DEMO_CARD_PAYMENT_LIMIT_YEN, DEMO_CARD_DAILY_LIMIT_YEN)
    (card,) = await issue_cards(
        seeder.engine, cards=[new_card], pepper=seeder.pepper, now_us=now_us
    )
    return DemoSecrets(
        seed=city.seed,
        wallets=city.wallets,
        shops=city.shops,
        merchant_id=public_id("mer", merchant_id),
        terminal_id=public_id("ter", city.id_of("demo terminal", 0)),
        wallet_id=public_id("wal", wallet_id),
        api_key=key.key,
        card_number=card.number,
        card_value=card.qr_value,
    )

"""The city that is measured: people who can pay and shops that take it, and their payments.

The demonstration city is seeded through the product's own doors, so every balance has its
transfers. Payments are drawn so that they succeed: what a wallet and its card have left is counted
here as well, and the wallet of a payment is one that can afford it. Half are paid by one-time
code, half by card; amounts are 100 to 1,500 yen, so purses run out and payments span several.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from rich.console import Console
from rich.progress import Progress
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.processes import BenchError
from bench.stage import Stage
from wallet.core.clock import system_clock
from wallet.core.database import make_engine, read
from wallet.core.ids import public_id
from wallet.demo.seed import seed_demo
from wallet.merchants.issue_api_key import issue_api_key
from wallet.payments.issue_codes import EXPIRES_S_MAX, issue_codes
from wallet.people.issue_cards import NewCard, issue_cards
from wallet.people.rules import CARD_DAILY_LIMIT_YEN

AMOUNTS_YEN: Final = range(100, 1_510, 10)
CARD_SHARE: Final = 0.5
SEED: Final = 20_261_001
PURSES_TRIED_MAX: Final = 1_000

_TERMINALS = text("""
SELECT DISTINCT ON (s.id) t.id, s.merchant_id
FROM shop AS s JOIN terminal AS t ON t.shop_id = s.id
WHERE NOT EXISTS (
    SELECT FROM programme AS g
    WHERE g.terms->'spending'->'excluded_categories' @> to_jsonb(s.category)
)
ORDER BY s.id, t.id
""")

_WALLETS = text("""
SELECT p.wallet_id, sum(b.credits_posted - b.debits_posted)::bigint
FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id
GROUP BY p.wallet_id ORDER BY p.wallet_id
""")


@dataclass(frozen=True)
class Register:
    """A till: the terminal in a shop, and the key its merchant's system calls with."""

    terminal_id: str
    api_key: str


@dataclass
class Purse:
    """What a wallet and its card can still pay."""

    wallet_id: UUID
    card_value: str
    left_yen: int
    card_left_yen: int = CARD_DAILY_LIMIT_YEN


@dataclass(frozen=True)
class Sale:
    """A payment to make."""

    number: int
    register: Register
    purse: Purse
    amount_yen: int
    by_card: bool


class City:
    """Shops, purses, and a source of payments that are the same in every run."""

    def __init__(self, registers: Sequence[Register], purses: Sequence[Purse]) -> None:
        self.registers = registers
        self._purses = purses
        self._random = random.Random(SEED)  # noqa: S311 - repeatable, not secret
        self._sales = 0

    def draw(self, count: int, *, registers: Sequence[Register]) -> list[Sale]:
        """Draw ``count`` payments to ``registers``, uniformly."""
        return [self._draw(registers) for _ in range(count)]

    def _draw(self, registers: Sequence[Register]) -> Sale:
        choose = self._random.choice
        amount_yen, by_card = choose(AMOUNTS_YEN), self._random.random() < CARD_SHARE
        for _ in range(PURSES_TRIED_MAX):
            purse = choose(self._purses)
            if amount_yen <= (
                min(purse.left_yen, purse.card_left_yen) if by_card else purse.left_yen
            ):
                break
        else:
            message = "the city has run out of money: seed more wallets"
            raise BenchError(message)
        purse.left_yen -= amount_yen
        if by_card:
            purse.card_left_yen -= amount_yen
        self._sales += 1
        return Sale(self._sales, choose(registers), purse, amount_yen, by_card)


async def seed_city(stage: Stage, *, wallets: int, shops: int) -> City:
    """Seed the city and hand out keys and cards; about 15 s for 20,000 wallets."""
    engine = make_engine(stage.application_url, pool_size=2, application_name="bench-seed")
    pepper = stage.pepper.encode()
    try:
        await seed_demo(
            engine=engine,
            database_url=stage.application_url,
            pepper=pepper,
            livemode=False,
            secrets_path=stage.directory / "demo.json",
            clock=system_clock,
            progress=Progress(console=Console(stderr=True), disable=True),
            wallets=wallets,
            shops=shops,
        )
        return City(await _registers(engine, pepper), await _purses(engine, pepper))
    finally:
        await engine.dispose()


async def _registers(engine: AsyncEngine, pepper: bytes) -> list[Register]:
    """Return one register of each shop that every programme may be spent in."""
    async with read(engine) as connection:
        rows = (await connection.execute(_TERMINALS)).all()
    keys: dict[UUID, str] = {}
    for _, merchant_id in rows:
        if merchant_id not in keys:
            issued = await issue_api_key(
                engine,
                merchant_id=merchant_id,
                livemode=False,
                pepper=pepper,
                now_us=system_clock(),
            )
            keys[merchant_id] = issued.key
    return [Register(public_id("ter", terminal_id), keys[owner]) for terminal_id, owner in rows]


async def _purses(engine: AsyncEngine, pepper: bytes) -> list[Purse]:
    async with read(engine) as connection:
        rows = (await connection.execute(_WALLETS)).all()
    cards = await issue_cards(
        engine,
        cards=[NewCard(wallet_id) for wallet_id, _ in rows],
        pepper=pepper,
        now_us=system_clock(),
    )
    return [
        Purse(wallet_id, card.qr_value, left_yen)
        for (wallet_id, left_yen), card in zip(rows, cards, strict=True)
    ]


async def render_sales(engine: AsyncEngine, sales: Sequence[Sale], *, pepper: bytes) -> list[bytes]:
    """Issue the codes that the sales need and return each sale as a whole HTTP request."""
    issued = iter(
        await issue_codes(
            engine,
            wallet_ids=[sale.purse.wallet_id for sale in sales if not sale.by_card],
            pepper=pepper,
            now_us=system_clock(),
            expires_s=EXPIRES_S_MAX,
        )
    )
    return [
        render_request(sale, value=sale.purse.card_value if sale.by_card else next(issued))
        for sale in sales
    ]


def render_request(sale: Sale, *, value: str) -> bytes:
    """Return the request as a shop's system would send it; ``value`` is what was scanned."""
    body = json.dumps(
        {
            "merchant_payment_id": f"R-{sale.number:09}",
            "amount": {"amount": sale.amount_yen, "currency": "JPY"},
            "instrument": {"type": "card" if sale.by_card else "cpm_code", "value": value},
            "terminal_id": sale.register.terminal_id,
        },
        separators=(",", ":"),
    )
    # Shops' systems make random keys, which are dearer to an index than numbers in a row.
    key = random.getrandbits(128)
    return (
        "POST /v1/payments HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"authorization: Bearer {sale.register.api_key}\r\n"
        f"idempotency-key: {key:032x}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}"
    ).encode("ascii")
